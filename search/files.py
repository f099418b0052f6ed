"""Writes files so that nobody ever sees half of one: beside their place, then moved there."""

import contextlib
import errno
import functools
import os
import secrets
import select
import shutil
import socket
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from search.errors import StorageError
from search.text import show_path

STDOUT = Path("-")
"""What stands for standard output where a file is asked for."""

_PREFIX = f".search-{zlib.crc32(socket.gethostname().encode()):08x}-"  # a lock of another machine may not show here
_FOREIGN_PREFIX, _SUFFIX = ".search-", ".tmp"
_FOREIGN_AGE_S = 86400.0
_NOT_BESIDE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)  # a folder closed to us, a mounted file
_READER_S = 10.0


def write(document: str, path: Path) -> None:
    """Writes what a person asked for, as UTF-8, so that a power cut keeps it.

    A file is replaced as a whole or not at all, where a link leads if it is one; its mode stays. What is no regular file, such
    as a device or a pipe, is written into. `STDOUT`, and every name of an open file such as /dev/stdout, is that file.

    Raises:
        StorageError: It cannot be written, or the disk is full.
    """
    data = document.encode(errors="backslashreplace")
    try:
        target = Path(os.path.realpath(path))
        if (descriptor := open_file_of(path)) is not None:
            if descriptor == 1 and sys.stdout is not None:
                sys.stdout.flush()
            _write_all(descriptor, data)
        elif target.is_symlink():
            raise OSError(errno.ELOOP, "links that lead to each other")
        elif target.exists() and not target.is_file():
            _write_into(target, data)
        else:
            _replace(target, data)
    except OSError as error:
        got = error.strerror or error
        raise StorageError(f"{show_path(path)}: must be writable; got: {got}. Choose another place.") from None


def open_file_of(path: Path) -> int | None:
    """Returns the descriptor of the open file that a path names, as /dev/stdout does; None where it names none."""
    if path == STDOUT:
        return 1
    ours = {os.path.realpath(folder) for folder in ("/proc/self/fd", "/dev/fd")}
    for _ in range(40):  # links, as the system follows them
        folder = os.path.realpath(path.parent)
        if folder in ours and path.name.isdecimal():
            return int(path.name)
        if not os.path.islink(path):
            return None
        path = Path(folder) / path.readlink()
    return None


def lock(file: int, *, wait: bool = True) -> None:
    """Takes the lock of an open file, which its process holds until it closes it, or ends, however it ends.

    Raises:
        BlockingIOError: Another one holds it, and we do not wait.
        OSError: The file system has no locks.
    """
    import fcntl  # not up there: what only reads can be imported where there is none

    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Opens a new file that takes the place of `path` when the block ends, and vanishes when it fails.

    Several processes may replace the same file at once: each writes one of its own, and the last to end wins. What a killed one
    leaves is removed by the next that writes to the folder.

    With `sync`, it outlives a power cut.

    Raises:
        OSError: The folder is missing or not writable, or the disk is full.
    """
    with temporary_file(path.parent) as (name, held):
        with open(os.dup(held), "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            before = path.stat()
            if before.st_mode != os.fstat(held).st_mode:  # a drive that has one mode for all refuses to be asked
                os.chmod(name, stat.S_IMODE(before.st_mode))
            with contextlib.suppress(PermissionError):
                os.chown(name, before.st_uid, before.st_gid)
        os.replace(name, path)
    if sync:
        _sync_folder(path.parent)


def temporary_file(beside: Path) -> contextlib.AbstractContextManager[tuple[str, int]]:
    """Makes a file in the folder `beside`, open and locked, and removes its name when the block ends; see `replacing`."""
    return _temporary(beside, lambda name: os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))


@contextlib.contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Makes a folder in the folder `beside` that is removed when the block ends, unless it was moved; see `replacing`."""

    def make(name: str) -> int:
        while True:
            os.mkdir(name)
            with contextlib.suppress(FileNotFoundError):  # a sweep took it for left behind between the two calls
                return os.open(name, os.O_RDONLY)

    with _temporary(beside, make) as (name, _):
        yield Path(name)


@contextlib.contextmanager
def _temporary(folder: Path, make: Callable[[str], int]) -> Iterator[tuple[str, int]]:
    """Makes what is held by a lock for as long as this process lives; yields its name and its descriptor."""
    _sweep(os.path.abspath(folder))
    while True:
        name = os.path.join(folder, f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}")
        held = make(name)
        with contextlib.suppress(OSError):  # a file system without locks: nobody can take it for left behind either
            lock(held)
        if os.path.lexists(name):
            break
        os.close(held)  # it was taken for left behind before we had the lock
    try:
        yield name, held
    finally:
        os.close(held)
        _remove(name)


@functools.cache
def _sweep(folder: str) -> None:
    """Removes what killed processes have left in a folder, and only that: what nobody holds a lock of."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_FOREIGN_PREFIX) and entry.name.endswith(_SUFFIX):
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _FOREIGN_AGE_S
                if entry.name.startswith(_PREFIX) or old:
                    _remove_free(entry.path)


def _remove_free(name: str) -> None:
    file = -1
    with contextlib.suppress(OSError):
        file = os.open(name, (os.O_RDONLY if os.path.isdir(name) else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK)
        lock(file, wait=False)
        _remove(name)
    if file >= 0:
        os.close(file)


def _remove(name: str) -> None:
    if os.path.isdir(name) and not os.path.islink(name):
        shutil.rmtree(name, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _replace(target: Path, data: bytes) -> None:
    try:
        with replacing(target, sync=True) as file:
            file.write(data)
    except OSError as error:
        if error.errno not in _NOT_BESIDE or not target.exists():
            raise
        _overwrite(target, data)


def _overwrite(target: Path, data: bytes) -> None:
    """Writes over a file that cannot be replaced, once there is room for all of it."""
    file = os.open(target, os.O_WRONLY)
    try:
        if data and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file, 0, len(data))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that does not know that
                    raise
        _write_all(file, data)
        os.ftruncate(file, len(data))
        os.fsync(file)
    finally:
        os.close(file)


def _write_into(target: Path, data: bytes) -> None:
    """Writes into what is no regular file; a pipe must have a reader before long."""
    mode = target.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder")
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        raise OSError(errno.EINVAL, "a socket or a disk")
    until = time.monotonic() + _READER_S
    while True:
        try:
            file = os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > until:
                raise OSError(errno.ENXIO, "a pipe that nobody reads") from None
        time.sleep(0.05)
    with open(file, "wb"):
        os.set_blocking(file, True)
        _write_all(file, data)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(file, left) :]
        except BlockingIOError:  # an open file that was set not to wait
            select.select([], [file], [])
        except BrokenPipeError:  # whoever reads has read enough, as of what is printed
            return


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems do not know that
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
