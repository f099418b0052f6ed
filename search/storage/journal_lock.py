"""The lock of a journal file: kept by Optuna's lock file, freed when its holder is killed, and mended before each write."""

import contextlib
import errno
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from search.files import lock, temporary_file
from search.optuna_internals import LOCK_FILE_SUFFIX, BaseJournalFileLock

_LONGEST_PAUSE_S = 0.05
_FOREIGN_GRACE_S = 30.0  # Optuna's own for a lock whose holder shows no life
_MARK = b"flock"  # tells our lock file from that of `JournalFileOpenLock`, which is empty
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_TAIL = 256  # bytes; more than most records have
_RECORD_START = b'{"op_code":'


class NoLock(BaseJournalFileLock):
    """Refuses to be locked, and so written: for who only reads a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def acquire(self) -> bool:
        """Raises an error."""
        raise OSError(errno.EROFS, "it is open for reading only", str(self._path))

    def release(self) -> None:
        """Has nothing to do."""


class MendingLock(BaseJournalFileLock):
    """Sees, before another record of a journal is written behind the last one, that this is still there and whole.

    What a full disk or a power failure left of a record is cut off: Optuna leaves out a last line without its end when it
    reads, but writes on behind it, and can then read neither. A thread that has the lock may take it again.
    """

    def __init__(self, path: Path, lock: BaseJournalFileLock) -> None:
        self._path = path
        self._lock = lock
        self._thread = threading.RLock()
        self._depth = 0
        self._end: _End | None = None

    def acquire(self) -> bool:
        """Locks the journal, and mends its end."""
        self._thread.acquire()
        try:
            if self._depth == 0:
                self._lock_and_mend()
        except BaseException:
            self._thread.release()
            raise
        self._depth += 1
        return True

    def release(self) -> None:
        """Unlocks the journal."""
        try:
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._end = _End.of(self._path)
                finally:
                    self._lock.release()
        finally:
            self._thread.release()

    def _lock_and_mend(self) -> None:
        self._lock.acquire()
        try:
            if self._end is not None:
                self._end.check(self._path)
            _cut_torn_record(self._path)
        except BaseException:
            self._lock.release()
            raise


@dataclass(frozen=True)
class _End:
    """The end of a journal, as it was: the file's device and inode, its size in bytes, and its last bytes.

    Records are only ever added behind it.
    """

    inode: tuple[int, int]
    size: int
    tail: bytes

    @classmethod
    def of(cls, path: Path, size: int | None = None) -> "_End":
        """Returns that of a file, or of its first `size` bytes."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size = status.st_size if size is None else min(size, status.st_size)
            start = file.seek(max(0, size - _TAIL))
            return cls((status.st_dev, status.st_ino), size, file.read(size - start))

    def check(self, path: Path) -> None:
        """Raises an OSError where the file is another one by now, or does not go on from here."""
        is_whole = self.tail.endswith(b"\n")  # others may cut off what is left of a record
        if is_whole and _End.of(path, self.size) != self:
            raise OSError(errno.ESTALE, "it was cut or replaced since it was last written to", str(path))


class LocalLock(BaseJournalFileLock):
    """Optuna's lock file, which the kernel frees when its holder is killed.

    `JournalFileSymlinkLock` lets everybody wait for half a minute after a holder was killed. Here the holder also has the lock
    file locked by `flock`, so that whoever gets that knows the holder to be gone, and takes the file over. It is made and
    marked under another name, so that a kill never leaves one that nobody knows for ours. Programs of plain Optuna see the
    same lock file, and theirs is seen here; such a one is waited for as Optuna does. It is for local file systems, since others
    may not have `flock`.
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
        if os.path.lexists(self._path):
            return False
        with temporary_file(self._path.parent) as (name, file):
            _mark(file)
            try:
                os.link(name, self._path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_in_steps()
            self._held = os.dup(file)
        return True

    def _create_in_steps(self) -> bool:
        # Whoever is killed between them leaves a file that looks like one of plain Optuna.
        try:
            self._held = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return False
        try:
            _mark(self._held)
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
            lock(file, wait=False)
            if os.path.samestat(os.fstat(file), self._path.lstat()) and os.read(file, len(_MARK)) == _MARK:
                self._held = file
                return True
        except (BlockingIOError, FileNotFoundError):
            pass  # its holder lives, or has just removed it
        os.close(file)
        return False

    def _is_foreign(self) -> bool:
        """Returns whether the lock file is none of ours, but as plain Optuna makes it, or what a power failure left of one."""
        try:
            return self._path.is_symlink() or self._path.read_bytes() != _MARK
        except FileNotFoundError:
            return False

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # plain Optuna took it for stale
            os.unlink(self._path)


class NetworkLock(LocalLock):
    """Optuna's lock file for network file systems, a symbolic link, which nobody but time frees when its holder is killed.

    Of Optuna's own `JournalFileSymlinkLock` everybody waits for ever where its link leads nowhere, as that of a program which
    was given the journal by a relative path does.
    """

    def release(self) -> None:
        """Removes the lock file."""
        self._remove()

    def _create(self) -> bool:
        try:
            os.symlink(self._journal, self._path)
        except FileExistsError:
            return False
        return True

    def _take_over(self) -> bool:
        return False

    def _is_foreign(self) -> bool:
        return True  # or ours of another machine: either is left alone as long as the journal grows


def _mark(file: int) -> None:
    lock(file)  # also where it is: a file system without locks is an error here
    os.write(file, _MARK)


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
