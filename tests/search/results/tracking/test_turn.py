"""On a database server one of all machines sends a study to its trackers, and another one takes over."""

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
