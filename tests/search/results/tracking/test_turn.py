"""On a database server one of all machines sends a study to its trackers, and another one takes over."""

import tempfile
import time

import pytest

from search.results.tracking.turn import Turn
from search.storage import open as storage
from tests.search.servers import SERVERS


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def readers(server):
    """Two machines that follow a study, and one that follows another study."""
    url = server.new_database()
    for name in ("demo", "other"):
        storage.close(storage.create_study(url, name, ["maximize"], ["score"]))
    studies = [storage.open_study(url, name) for name in ("demo", "demo", "other")]
    turns = [Turn(study, url) for study in studies]
    yield turns
    for turn in turns:
        turn.end()
    for study in studies:
        storage.close(study)


def test_one_sends_until_it_ends(readers):
    one, another, elsewhere = readers
    assert one.take()
    assert elsewhere.take()
    assert not another.take()
    assert one.take(), "it has its turn still"
    one.end()
    assert another.take(), "the server has let it go by then"
    assert not one.take()


@pytest.fixture
def two(folder):
    """Two processes that follow a study in a file, as far as its lock can tell."""
    storage.close(storage.create_study("sqlite:///demo.db", "demo", ["maximize"], ["score"]))
    study = storage.open_study("sqlite:///demo.db", "demo")
    yield lambda: (Turn(study, "sqlite:///demo.db"), Turn(study, "sqlite:///demo.db"))
    storage.close(study)


def test_of_a_study_in_a_file_one_process_of_a_machine_sends(two, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, another = two()
    assert (one.take(), another.take(), one.take()) == (True, False, True)
    one.end()
    assert another.take()
    another.end()


def test_where_there_is_no_room_for_a_lock_it_is_sent_all_the_same(two, no_temporary_folder, monkeypatch):
    assert two()[0].take()
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    assert two()[0].take()


def test_who_is_cut_off_has_lost_its_turn(readers, server):
    one, another, _ = readers
    assert one.take()
    if server.scheme == "postgresql":
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tester'")
    else:
        server.execute("KILL USER tester")
    for _ in range(300):  # the server ends connections in its own time
        if another.take():
            break
        time.sleep(0.1)
    else:
        pytest.fail("nobody has the turn of a process that is gone")
    assert not one.take()
