"""Drivers of one study take turns, and a turn ends with its holder."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy

from search.errors import StorageError
from search.storage import open as storage
from search.storage import study_lock
from search.storage.errors import storage_errors
from search.storage.url import with_driver
from tests.patience import PATIENCE_S
from tests.search.servers import SERVERS


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def drivers(server):
    url = server.new_database()
    studies = [storage.create_study(url, name, ["maximize"], ["score"]) for name in ("demo", "demo", "other")]
    yield studies
    for study in studies:
        storage.close(study)


def hang_up(server):
    """Ends all connections of the drivers, as the end of their machine would."""
    if server.scheme == "postgresql":
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tester'")
    else:
        server.execute("KILL USER tester")


def enter(study, entered):
    """Takes a turn, and says that it had it."""
    with storage.study_lock(study):
        entered.set()


def test_one_waits_for_the_other_of_its_study(drivers):
    one, other, elsewhere = drivers
    entered = threading.Event()
    with ThreadPoolExecutor() as pool:
        with storage.study_lock(one):
            waiting = pool.submit(enter, other, entered)
            with storage.study_lock(elsewhere):
                assert not entered.wait(0.5)
            assert one.ask().number == 0, "who has its turn is not in its own way"
        waiting.result(timeout=PATIENCE_S)
    assert entered.is_set()


def test_a_turn_ends_with_the_connection(drivers, server):
    one, other, _ = drivers
    with ThreadPoolExecutor() as pool, storage.study_lock(one):
        hang_up(server)
        began = time.monotonic()
        with storage.study_lock(other):
            pass
        assert time.monotonic() - began < 10
        assert pool.submit(one.ask).result().number == 0, "and its holder goes on"


def test_who_waits_asks_again_when_it_is_cut_off(drivers, server):
    one, other, _ = drivers
    entered = threading.Event()
    with ThreadPoolExecutor() as pool:
        with storage.study_lock(one):
            waiting = pool.submit(enter, other, entered)
            time.sleep(0.5)
            hang_up(server)
        waiting.result(timeout=PATIENCE_S)
    assert entered.is_set()


@pytest.fixture
def two(mariadb):
    """A study in two processes, as far as MariaDB can tell."""
    url = mariadb.new_database()
    studies = [storage.create_study(url, "demo", ["maximize"], ["score"]) for _ in range(2)]
    yield studies
    for study in studies:
        storage.close(study)


@pytest.mark.server
def test_who_has_waited_in_vain_waits_again(two, monkeypatch, wait_for):
    one, other = two
    waits = {**study_lock._TAKE, "mysql": study_lock._TAKE["mysql"].replace(f"{study_lock._WAIT_S})", "1)")}
    monkeypatch.setattr(study_lock, "_TAKE", waits)
    entered, asked = threading.Event(), []
    engine = other._storage.backend.engine
    sqlalchemy.event.listen(
        engine, "before_cursor_execute", lambda *args: asked.append(args[2]) if "GET_LOCK" in args[2] else None
    )
    with ThreadPoolExecutor() as pool:
        with storage.study_lock(one):
            waiting = pool.submit(enter, other, entered)
            wait_for(lambda: len(asked) == 3 or entered.is_set())
            assert not entered.is_set()
        waiting.result(timeout=PATIENCE_S)
    assert entered.is_set()


@pytest.mark.server
def test_a_lock_that_is_refused_is_not_taken_for_granted(two):
    one, other = two
    entered = threading.Event()
    study_lock.on_connect(other._storage.backend.engine, "SET SESSION max_statement_time = 0.5")
    with storage.study_lock(one), pytest.raises(StorageError) as caught, storage_errors("mysql://host/db"):
        enter(other, entered)
    assert not entered.is_set()
    got = "GET_LOCK returned NULL, as where max_statement_time is below 10 s"
    rule = "mysql://host/db: the storage must be readable and writable"
    assert str(caught.value) == f"{rule}; got: {got}. Check the storage, and try again."


def connections(server, url):
    """The connections of a database, of which PostgreSQL lets there be 100 in all."""
    database = url.rpartition("/")[2]
    if server.scheme == "postgresql":
        return int(server.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'").stdout)
    return int(server.execute(f"SELECT count(*) FROM information_schema.processlist WHERE db = '{database}'").stdout)


def test_who_waits_to_make_the_tables_has_one_connection_which_is_replaced_when_it_is_cut_off(server, wait_for):
    url = server.new_database()
    engine = sqlalchemy.create_engine(with_driver(url))
    with ThreadPoolExecutor() as pool:
        with study_lock.lock(engine, study_lock.TABLES):
            before = connections(server, url)
            waiting = pool.submit(storage.create_study, url, "demo", ["maximize"], ["score"])
            wait_for(lambda: connections(server, url) > before)
            time.sleep(0.5)
            assert connections(server, url) == before + 1
            hang_up(server)
        study = waiting.result(timeout=PATIENCE_S)
    assert study.ask().number == 0
    storage.close(study)
    engine.dispose()


def test_a_file_has_no_turns():
    study = storage.create_study("sqlite:///demo.db", "demo", ["maximize"], [])
    with storage.study_lock(study), storage.study_lock(study):
        pass
    assert storage.shared(study) is None
    storage.close(study)
