import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

from search.errors import StorageError
from search.storage import journal, journal_lock
from search.storage import open as storage

URL = "journal:///demo.log"
LOG = Path("demo.log")
LOCK = Path("demo.log.lock")


@pytest.fixture
def study():
    return storage.create_study(URL, "demo", ["maximize"], ["score"])


def test_plain_optuna_reads_it_and_writes_it(study):
    plain = optuna.load_study(study_name="demo", storage=optuna.storages.JournalStorage(JournalFileBackend("demo.log")))
    plain.set_user_attr("theirs", 1)
    study.set_user_attr("ours", 2)
    assert plain.user_attrs == study.user_attrs == {"theirs": 1, "ours": 2}
    assert not LOCK.exists()


@pytest.mark.parametrize("torn", [b'{"op_c', b'{"op_code":2,"worker_id":"x","study_id":0,"user_at'])
def test_a_record_that_a_power_failure_cut_is_left_out(study, torn):
    study.set_user_attr("before", 1)
    with LOG.open("ab") as file:
        file.write(torn)
    again = storage.create_study(URL, "demo", ["maximize"], ["score"])
    again.set_user_attr("after", 2)
    assert storage.open_study(URL, "demo").user_attrs == {"before": 1, "after": 2}


@pytest.mark.parametrize("content", [b"my notes", b"my notes\nmore\n", b'{"a": 1}\n', b"SQLite format 3\x00\n\xff\n"])
def test_a_file_of_another_kind_is_left_as_it_is(content):
    LOG.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        storage.create_study(URL, "demo", ["maximize"], [])
    assert str(caught.value).startswith(f"{URL}: ")
    assert "\n" not in str(caught.value)
    assert LOG.read_bytes() == content


def test_a_damaged_line_says_so(study):
    study.set_user_attr("key", 1)
    lines = LOG.read_bytes().splitlines(keepends=True)
    LOG.write_bytes(lines[0] + b"{\n" + b"".join(lines[1:]))
    with pytest.raises(StorageError, match=r"must be a sound journal of Optuna; got: .* Restore it from a copy"):
        storage.open_study(URL, "demo")


def test_a_lock_whose_holder_was_killed_is_taken_over_at_once(study, environment):
    script = """
import time
from pathlib import Path
from search.storage.journal_lock import LocalLock
LocalLock(Path("demo.log")).acquire()
print("locked", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as holder:
        holder.stdout.readline()
        writer = threading.Thread(target=study.set_user_attr, args=("key", 1), daemon=True)
        writer.start()
        writer.join(0.3)
        assert writer.is_alive(), "a living holder is waited for"
        holder.kill()
        writer.join(5)
    assert study.user_attrs == {"key": 1}
    assert not LOCK.exists()


KILLED_AT_EACH_STEP = """
import os, signal, sys, time
from pathlib import Path
from search.storage.journal_lock import LocalLock

def lock_and_unlock(kill_at=None):
    child = os.fork()
    if child == 0:
        left = [kill_at]
        def count(event, _):
            if kill_at is not None and event in ("open", "fcntl.flock", "os.link", "os.remove"):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        lock = LocalLock(Path("demo.log"))
        for _ in range(1 if kill_at is not None else 2):  # who takes a lock over has not made one yet, and looked for leftovers
            lock.acquire()
            lock.release()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0

step = 0
while not lock_and_unlock(step):
    began = time.monotonic()
    assert lock_and_unlock()
    assert time.monotonic() - began < 20, f"it was waited for after step {step}"
    left = set(os.listdir()) - {"objectives.py"}
    assert left == {"demo.log"}, f"{left} after step {step}"
    step += 1
print(step)
"""


def test_a_holder_may_be_killed_at_any_moment(study, environment):
    """Nobody waits for its lock then, and nothing of it is left."""
    script = [sys.executable, "-c", KILLED_AT_EACH_STEP]
    steps = subprocess.run(script, env=environment, check=True, capture_output=True, text=True).stdout
    assert int(steps) > 3


@pytest.mark.parametrize("marked", range(len(journal_lock._MARK) + 1))
@pytest.mark.parametrize("links", [True, False])
def test_whatever_is_in_a_lock_file_that_nobody_holds_it_is_waited_for_no_longer_than_plain_optunas(
    study, marked, links, monkeypatch
):
    """Also on a file system without hard links."""

    def link(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(journal_lock, "_FOREIGN_GRACE_S", 0.1)
    LOCK.write_bytes(journal_lock._MARK[:marked])
    writer = threading.Thread(target=study.set_user_attr, args=("key", 1), daemon=True)
    writer.start()
    writer.join(5)
    assert study.user_attrs == {"key": 1}
    assert set(os.listdir()) - {"objectives.py"} == {"demo.log"}


@pytest.mark.parametrize("theirs", [JournalFileSymlinkLock, JournalFileOpenLock])
def test_plain_optunas_lock_is_waited_for_and_broken_when_stale(study, theirs, monkeypatch):
    lock = theirs("demo.log")
    lock.acquire()
    writer = threading.Thread(target=study.set_user_attr, args=("key", 1), daemon=True)
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    lock.release()
    writer.join(5)
    assert study.user_attrs == {"key": 1}
    theirs("demo.log").acquire()
    monkeypatch.setattr(journal_lock, "_FOREIGN_GRACE_S", 0.2)
    study.set_user_attr("key", 2)
    assert study.user_attrs == {"key": 2}


@pytest.mark.slow
def test_many_writers_lose_nothing(study, environment):
    script = """
import sys
from search.storage import open as storage
study = storage.open_study("journal:///demo.log", "demo", writable=True)
for number in range(20):
    study.set_user_attr(f"{sys.argv[1]} {number}", number)
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, str(at)], env=environment) for at in range(3)]
    assert [writer.wait() for writer in writers] == [0] * 3
    assert len(study.user_attrs) == 60


def test_a_network_file_system_gets_a_lock_without_flock(monkeypatch):
    monkeypatch.setattr(journal, "network_file_system", lambda path: "nfs4")
    made = storage.create_study(URL, "demo", ["maximize"], [])
    backend = made._storage._backend  # type: ignore[attr-defined]
    assert isinstance(backend._lock._lock, journal_lock.NetworkLock)


HOLDER = """
import sys, time
from pathlib import Path
from optuna.storages.journal import JournalFileSymlinkLock
from search.storage import journal
if sys.argv[1] == "theirs":
    JournalFileSymlinkLock("store/demo.log").acquire()
else:
    journal.network_file_system = lambda path: "nfs4"
    journal.open_journal("journal:///store/demo.log", Path("store/demo.log"), writable=True)._file_lock.acquire()
print("locked", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("network", ["nfs4", None], ids=["network", "local"])
@pytest.mark.parametrize("holder", ["theirs", "ours"])
def test_a_killed_holder_of_a_journal_in_a_folder_is_not_waited_for_without_end(environment, monkeypatch, network, holder):
    """Plain Optuna's lock of a relative path is a link that leads nowhere."""
    Path("store").mkdir()
    monkeypatch.setattr(journal, "network_file_system", lambda path: network)
    study = storage.create_study("journal:///store/demo.log", "demo", ["maximize"], ["score"])
    with subprocess.Popen([sys.executable, "-c", HOLDER, holder], stdout=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        process.kill()
    assert Path("store/demo.log.lock").exists() == (holder == "ours"), "it leads to the journal, or nowhere"
    monkeypatch.setattr(journal_lock, "_FOREIGN_GRACE_S", 0.2)
    writer = threading.Thread(target=study.set_user_attr, args=("key", 1), daemon=True)
    writer.start()
    writer.join(10)
    assert study.user_attrs == {"key": 1}
    assert not Path("store/demo.log.lock").is_symlink()


def test_it_is_found_again_from_another_folder(study, monkeypatch):
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    study.set_user_attr("key", 1)
    assert study.user_attrs == {"key": 1}
    assert not LOG.exists()
