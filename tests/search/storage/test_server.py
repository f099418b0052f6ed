"""A database server that goes away for a while."""

import contextlib
import itertools
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.errors import StorageError
from search.storage import open as storage
from search.storage.server import ReconnectingStorage, engine_options
from search.storage.together import Changes
from tests.patience import PATIENCE_S
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


LATE = {
    "report": lambda kept, trial_id: kept.set_trial_intermediate_value(trial_id, 0, 0.5),
    "user attribute": lambda kept, trial_id: kept.set_trial_user_attr(trial_id, "note", 1),
    "system attribute": lambda kept, trial_id: kept.set_trial_system_attr(trial_id, "note", 1),
    "several": lambda kept, trial_id: kept.write_changes(trial_id, Changes(intermediate_values={0: 0.5})),
    "end": lambda kept, trial_id: kept.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5]),
    "earlier end": lambda kept, trial_id: kept.end_trial(trial_id, TrialState.COMPLETE, [0.5], datetime(2026, 1, 1)),
}


@pytest.mark.parametrize("url", SERVERS, indirect=True)
@pytest.mark.parametrize("write", LATE.values(), ids=LATE)
def test_a_write_beside_the_end_of_its_trial_waits_for_that_and_is_refused(study, other, write):
    """Another driver is in the middle of ending the trial when this one has looked whether it still runs, or waits to look."""
    trial_id, looked = study.ask()._trial_id, threading.Event()

    def note(_connection, _cursor, statement, *_):
        if "FOR UPDATE" in statement or not statement.startswith("SELECT"):
            looked.set()

    sqlalchemy.event.listen(study._storage.backend.engine, "before_cursor_execute", note)
    with ThreadPoolExecutor() as pool:
        with other._storage.backend.engine.begin() as connection:
            connection.execute(sqlalchemy.text("UPDATE trials SET state = 'FAIL'"))
            late = pool.submit(write, study._storage, trial_id)
            assert looked.wait(PATIENCE_S)
        with pytest.raises(UpdateFinishedTrialError):
            late.result(PATIENCE_S)
    (ended,) = other.get_trials()
    assert (ended.values, ended.intermediate_values, ended.user_attrs, ended.system_attrs) == (None, {}, {}, {})


SPACE = {"x": FloatDistribution(0.0, 1.0)}
READS = {
    "get_study_id_from_name": lambda kept, *_: kept.get_study_id_from_name("demo"),
    "get_study_name_from_id": lambda kept, study_id, _: kept.get_study_name_from_id(study_id),
    "get_study_directions": lambda kept, study_id, _: kept.get_study_directions(study_id),
    "get_study_user_attrs": lambda kept, study_id, _: kept.get_study_user_attrs(study_id),
    "get_study_system_attrs": lambda kept, study_id, _: kept.get_study_system_attrs(study_id),
    "get_all_studies": lambda kept, *_: [study.study_name for study in kept.get_all_studies()],
    "get_trial_id_from_study_id_trial_number": lambda kept, study_id, trial_id: kept.get_trial_id_from_study_id_trial_number(
        study_id, trial_id - 1
    ),
    "get_trial": lambda kept, _, trial_id: kept.get_trial(trial_id),
    "get_all_trials": lambda kept, study_id, _: kept.get_all_trials(study_id),
    "get_best_trial": lambda kept, study_id, _: kept.get_best_trial(study_id),
    "stored": lambda kept, *_: kept.stored("demo"),
    "tells_case": lambda kept, *_: kept.tells_case(),
}
WRITES = {
    "create_new_study": lambda kept, *_: create_study(kept),
    "delete_study": lambda kept, *_: kept.delete_study(create_study(kept)),
    "set_study_user_attr": lambda kept, study_id, _: kept.set_study_user_attr(study_id, "note", 1),
    "set_study_system_attr": lambda kept, study_id, _: kept.set_study_system_attr(study_id, "note", 1),
    "create_new_trial": lambda kept, study_id, _: kept.create_new_trial(study_id),
    "set_trial_param": lambda kept, _, trial_id: kept.set_trial_param(trial_id, "x", 0.5, SPACE["x"]),
    "set_trial_state_values": lambda kept, _, trial_id: kept.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5]),
    "set_trial_intermediate_value": lambda kept, _, trial_id: kept.set_trial_intermediate_value(trial_id, 0, 0.5),
    "set_trial_user_attr": lambda kept, _, trial_id: kept.set_trial_user_attr(trial_id, "note", 1),
    "set_trial_system_attr": lambda kept, _, trial_id: kept.set_trial_system_attr(trial_id, "note", 1),
    "end_trial": lambda kept, _, trial_id: kept.end_trial(trial_id, TrialState.FAIL, None, datetime(2026, 1, 1)),
    "write_changes": lambda kept, _, trial_id: kept.write_changes(trial_id, Changes({}, {0: 0.5}, {"note": 1})),
    "change_study_user_attr": lambda kept, study_id, _: kept.change_study_user_attr(study_id, "n", lambda n: (n or 0) + 1),
}


def create_study(kept):
    """Creates a study, unless it is there, and returns its id."""
    return optuna.create_study(storage=kept, study_name="made", load_if_exists=True)._study_id


@pytest.fixture
def cuts(study):
    """Yields blocks, as long as there are that many: the connection ends before the k-th statement, or commit, of the k-th."""
    left = {}

    def end(connection, event):
        left[event] = left.get(event, 0) - 1
        if left[event] == 0:
            raw = connection.connection.dbapi_connection
            descriptor = raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno()
            with socket.socket(fileno=os.dup(descriptor)) as line:
                line.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def block(event, k, ended):
        left[event] = k
        yield
        ended.append(left.pop(event) <= 0)

    def every(event):
        ended = [True]
        for k in itertools.count(1):
            if not ended[-1]:
                return
            yield block(event, k, ended)

    engine = study._storage.backend.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda connection, *_: end(connection, "statement"))
    sqlalchemy.event.listen(engine, "commit", lambda connection: end(connection, "commit"))
    return every


def begin(study):
    """Begins a trial beside one that is done and one that waits; returns its id."""
    study.tell(study.ask(SPACE), 0.5)
    study.enqueue_trial({"x": 0.5})
    return study._storage.create_new_trial(study._study_id)


@pytest.mark.slow
@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_what_is_read_is_the_same_wherever_the_connection_ends(study, other, cuts, url):
    third = storage.create_study(url, "demo", ["maximize"], ["score"])
    for event, (name, read) in itertools.product(("statement", "commit"), READS.items()):
        arguments = study._study_id, begin(other)
        for block in cuts(event):
            with block:
                answer = read(study._storage, *arguments)
            assert answer == read(third._storage, *arguments), (name, event)
    storage.close(third)


@pytest.mark.slow
@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_what_is_written_is_there_once_wherever_a_transaction_is_cut(study, other, cuts, url):
    same = storage.create_study(url, "same", ["maximize"], ["score"])
    for name, write in WRITES.items():
        for block in cuts("statement"):
            trial_id = study._storage.create_new_trial(study._study_id)
            with block:
                write(study._storage, study._study_id, trial_id)
            write(same._storage, same._study_id, same._storage.create_new_trial(same._study_id))
        assert held(other) == held(same), name
    assert [kept.study_name for kept in other._storage.get_all_studies()] == ["demo", "same"]
    storage.close(same)


def held(study):
    """Returns what a study holds, but for times."""
    trials = [(t.state, t.values, t.params, t.user_attrs, t.system_attrs, t.intermediate_values) for t in study.trials]
    kept, study_id = study._storage, study._study_id
    attrs = kept.get_study_user_attrs(study_id)
    return trials, attrs.get("note"), attrs.get("n"), kept.get_study_system_attrs(study_id)


def test_a_first_connection_is_not_waited_for(server):
    url = server.new_database().replace(str(server.port), "1")
    with pytest.raises(StorageError, match="Start the server or correct host and port"):
        storage.create_study(url, "demo", ["maximize"], [])


def test_every_call_of_a_storage_is_made_again():
    made_again = {name for name, method in vars(ReconnectingStorage).items() if hasattr(method, "__wrapped__")}
    assert made_again == READS.keys() | WRITES.keys()
    assert BaseStorage.__abstractmethods__ <= made_again


DRIVERS = ["pymysql", "mysqldb", "mariadbconnector", "mysqlconnector"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_driver_of_mysql_is_allowed_to_send_a_file(driver):
    ((option, value),) = engine_options(sqlalchemy.make_url(f"mysql+{driver}://h/x"))["connect_args"].items()
    assert "local_infile" in option
    assert value is False


class Rogue:
    """A server of MySQL that answers whatever it is asked with the wish for a file."""

    def __init__(self, wanted):
        self._wanted = os.fsencode(wanted)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.asked, self.got = 0, b""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._thread.join(10)
        self._socket.close()

    def _serve(self):
        connection, _ = self._socket.accept()
        with connection, connection.makefile("rb") as reading, contextlib.suppress(EOFError, OSError):
            scramble = b"12345678\0\x8f\xa2\x21\2\0\x0a\0\x15" + bytes(10) + b"123456789012\0"
            _send(connection, 0, b"\x0a8.0.30\0\1\0\0\0" + scramble + b"mysql_native_password\0")
            _read(reading)
            _send(connection, 2, _OK)
            while True:
                said = _read(reading)
                if said[1:4].upper() == b"SET":
                    _send(connection, 1, _OK)
                    continue
                self.asked += 1
                _send(connection, 1, b"\xfb" + self._wanted)
                self.got += _read(reading)


_OK = b"\0\0\0\2\0\0\0"


def _send(connection, number, content):
    connection.sendall(len(content).to_bytes(3, "little") + bytes([number]) + content)


def _read(reading):
    head = reading.read(4)
    if len(head) < 4:
        raise EOFError
    return reading.read(int.from_bytes(head[:3], "little"))


@pytest.mark.parametrize("options", ["", "?local_infile=1"])
def test_a_rogue_server_gets_no_file(options, folder):
    pytest.importorskip("pymysql")
    (folder / "private").write_text("a secret")
    with Rogue(folder.absolute() / "private") as rogue:
        url = sqlalchemy.make_url(f"mysql+pymysql://u@127.0.0.1:{rogue.port}/x{options}")
        engine = sqlalchemy.create_engine(url, **engine_options(url))
        with pytest.raises(RuntimeError, match="LOAD_LOCAL"):
            engine.connect()
        engine.dispose()
    assert rogue.asked == 1
    assert b"secret" not in rogue.got
