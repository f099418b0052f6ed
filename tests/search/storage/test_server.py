"""A database server that goes away for a while."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy
from optuna.storages import BaseStorage

from search.errors import StorageError
from search.storage import open as storage
from search.storage.server import ReconnectingStorage
from tests.search.servers import SERVERS


@pytest.fixture(params=SERVERS)
def server(request):
    """A server that may be stopped: it runs again after the test."""
    server = request.getfixturevalue(request.param)
    yield server
    if server.process.poll() is not None:
        server.start()


@pytest.fixture
def launch(server, write, start, wait_for, folder):
    """Starts a launch, and waits until its first trial is in the middle."""
    url = server.new_database()
    path = write(study={"objective": '"objectives:gated"', "trials": "3", "storage": f'"{url}"'})

    def begin():
        driver = start("launch", path)
        wait_for((folder / "waiting").exists)
        return driver

    return path, url, begin


def states(url):
    study = storage.open_study(url, "demo")
    found = [trial.state.name for trial in study.trials]
    storage.close(study)
    return found


@pytest.mark.slow
def test_a_launch_outlives_a_restart_of_the_server(server, launch, folder, assert_no_password):
    _, url, begin = launch
    driver = begin()
    server.stop()
    (folder / "gate").touch()
    said = driver.stderr.readline()
    assert "does not answer. Waiting for it, 30 minutes at most" in said
    server.start()
    output, errors = driver.communicate()
    assert (driver.returncode, "answers again" in errors) == (0, True)
    assert "Budget reached: 3/3 trials." in output
    assert states(url) == ["COMPLETE"] * 3
    assert_no_password(said, errors, output)


@pytest.mark.slow
def test_waiting_ends_at_an_interrupt_and_nothing_is_lost(server, launch, search, folder, assert_no_password):
    path, url, begin = launch
    driver = begin()
    server.stop()
    (folder / "gate").touch()
    driver.stderr.readline()
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate()
    assert driver.returncode == 1
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    assert "Start the server" in errors
    assert_no_password(errors)
    server.start()
    assert "taken up again: trials 0." in search("launch", path).stdout
    assert states(url) == ["FAIL"] + ["COMPLETE"] * 3


def test_a_transaction_that_is_cut_in_two_is_made_again(server, wait_for):
    """Another transaction holds the trial's row, so that ours is in its middle when the server ends the connection."""
    url = server.new_database()
    study = storage.create_study(url, "demo", ["maximize"], [])
    trial = study.ask()
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    with ThreadPoolExecutor() as pool, engine.connect() as other:
        other.execute(sqlalchemy.text("SELECT * FROM trials FOR UPDATE"))
        told_ends = pool.submit(study.tell, trial, 1.0)
        wait_for(server.cut_waiting)
    told_ends.result()
    storage.close(study)
    assert states(url) == ["COMPLETE"]


def test_a_first_connection_is_not_waited_for(server):
    url = server.new_database().replace(str(server.port), "1")
    with pytest.raises(StorageError, match="Start the server or correct host and port"):
        storage.create_study(url, "demo", ["maximize"], [])


def test_every_call_of_a_storage_is_made_again():
    assert BaseStorage.__abstractmethods__ <= vars(ReconnectingStorage).keys()
