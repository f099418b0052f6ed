"""Optuna's journal file: a log of operations that works where SQLite does not, on network file systems."""

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import LOCK_FILE_SUFFIX, RENAME_FILE_SUFFIX, BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import TrialState

from search.errors import StorageError, one_line
from search.storage.file_systems import network_file_system
from search.storage.remedies import remedy

_LONGEST_PAUSE_S = 0.05
_FOREIGN_GRACE_S = 30.0  # Optuna's own for a lock whose holder shows no life
_MARK = b"flock"  # tells our lock file from that of `JournalFileOpenLock`, which is empty
_RECORD_START = b'{"op_code":'


def open_journal(url: str, path: Path) -> JournalStorage:
    """Opens a journal, or creates it where it is not there.

    Raises:
        StorageError: The file is no journal, or a line of it is damaged.
        OSError: It cannot be read or written.
    """
    lock: BaseJournalFileLock = JournalFileSymlinkLock(str(path)) if network_file_system(path) is not None else LocalLock(path)
    backend = JournalFileBackend(str(path), lock_obj=MendingLock(path, lock))
    with path.open("r+b"):
        pass  # proves that it may be written, before the first trial runs
    try:
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:  # whatever replaying it stumbles on
        said = one_line(error)
        raise StorageError(f"{url}: must be a sound journal of Optuna; got: {said}. {remedy('malformed')}") from None


def end_journal_trial(
    storage: JournalStorage, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime
) -> None:
    """Ends a trial that has ended some time ago, as `set_trial_state_values` of the storage ends one now."""
    moment = ended.astimezone(UTC).isoformat(timespec="microseconds")
    record = {"trial_id": trial_id, "state": state, "values": values, "datetime_complete": moment}
    with storage._thread_lock:
        storage._write_log(JournalOperation.SET_TRIAL_STATE_VALUES, record)
        storage._sync_with_backend()


class MendingLock(BaseJournalFileLock):
    """Cuts off what a full disk or a power failure left of a record before another one is written behind it.

    Optuna leaves out a last line without its end when it reads, but writes on behind it, and can then read neither.

    Args:
        path: The journal.
        lock: Does the locking.
    """

    def __init__(self, path: Path, lock: BaseJournalFileLock) -> None:
        self._path = path
        self._lock = lock

    def acquire(self) -> bool:
        """Locks the journal and mends its end."""
        self._lock.acquire()
        try:
            _cut_torn_record(self._path)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Unlocks the journal."""
        self._lock.release()


class LocalLock(BaseJournalFileLock):
    """Optuna's lock file, which the kernel frees when its holder is killed.

    `JournalFileSymlinkLock` lets everybody wait for half a minute after a holder was killed. Here the holder also has the lock
    file locked by `flock`, so that whoever gets that knows the holder to be gone, and takes the file over. Programs of plain
    Optuna see the same lock file, and theirs is seen here; such a one is waited for as Optuna does.

    Args:
        path: The journal; on a local file system, since others may not have `flock`.
    """

    def __init__(self, path: Path) -> None:
        self._journal = path
        self._path = Path(f"{path}{LOCK_FILE_SUFFIX}")
        self._held = -1

    def acquire(self) -> bool:
        """Waits for the lock."""
        pause_s = 0.001
        sign_of_life, since = 0, time.monotonic()
        while not (self._create() or self._take_over()):
            if self._journal.stat().st_mtime_ns != sign_of_life or not self._is_foreign():
                sign_of_life, since = self._journal.stat().st_mtime_ns, time.monotonic()
            elif time.monotonic() - since > _FOREIGN_GRACE_S:
                self._remove()
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        return True

    def release(self) -> None:
        """Removes the lock file, and only then lets go of it."""
        self._remove()
        os.close(self._held)

    def _create(self) -> bool:
        try:
            file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return False
        self._held = file
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, _MARK)
        except OSError:
            self.release()
            raise
        return True

    def _take_over(self) -> bool:
        """Takes the lock of a holder that was killed."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOENT):  # plain Optuna's symbolic link, or gone by now
                raise
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), self._path.lstat()) and os.read(file, len(_MARK)) == _MARK:
                self._held = file
                return True
        except (BlockingIOError, FileNotFoundError):
            pass  # its holder lives, or has just removed it
        os.close(file)
        return False

    def _is_foreign(self) -> bool:
        """Returns whether a program of plain Optuna has made the lock file."""
        try:
            return self._path.is_symlink() or self._path.stat().st_size == 0
        except FileNotFoundError:
            return False

    def _remove(self) -> None:
        aside = f"{self._path}{uuid.uuid4()}{RENAME_FILE_SUFFIX}"
        try:
            os.rename(self._path, aside)
            os.unlink(aside)
        except FileNotFoundError:
            pass  # plain Optuna took it for stale


def _cut_torn_record(path: Path) -> None:
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"\n", b""):
            return
        file.seek(0)
        start = file.read().rfind(b"\n") + 1
        file.seek(start)
        if not _RECORD_START.startswith(file.read(len(_RECORD_START))):  # not ours to cut
            raise OSError(errno.EINVAL, "the last line is no record of a journal", str(path))
        file.truncate(start)
