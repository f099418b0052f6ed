"""Writes files so that nobody ever sees half of one: beside their place, then moved there. Reads none without a bound."""

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

from tumorcls.errors import DataError, reason

STDOUT = Path("-")
"""What stands for standard output where a file is asked for."""

_PREFIX = f".tumorcls-{zlib.crc32(socket.gethostname().encode()):08x}-"  # a lock of another machine may not show here
_FOREIGN_PREFIX, _SUFFIX = ".tumorcls-", ".tmp"
_FOREIGN_AGE_S = 86400.0
_NOT_BESIDE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)  # a folder closed to us, a mounted file
_READER_S = 10.0
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"} | dict.fromkeys(
    (stat.S_IFCHR, stat.S_IFBLK), "a device"
)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes what a person asked for (text as UTF-8), with its folder where that is missing, so that a power cut keeps it.

    A file is replaced as a whole or not at all, where a link leads if it is one; its mode stays. What is no regular file, such
    as a device or a pipe, is written into. `STDOUT`, and every name of an open file such as /dev/stdout, is that file.

    Raises:
        DataError: It cannot be written, or the disk is full.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        descriptor = open_file_of(path)
        target = Path(os.path.realpath(path))
        if target.is_symlink() and descriptor is None:
            raise OSError(errno.ELOOP, "links that lead to each other")
        if descriptor is not None:
            if descriptor == 1 and sys.stdout is not None:
                sys.stdout.flush()
            _write_all(descriptor, data)
        elif target.exists() and not target.is_file():
            _write_into(target, data)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(target, data)
    except OSError as error:
        raise DataError(f"{path}: must be writable; got {reason(error)}. Choose another place.") from error


def read_whole(path: Path, most: int) -> bytes:
    """Returns what a regular file holds; see `read_start`.

    Raises:
        OSError: As there, and where it holds more than `most` bytes.
    """
    content = read_start(path, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than the at most {most / 2**20:g} MiB that are read")
    return content


def read_start(path: Path, most: int) -> bytes:
    """Returns the first `most` bytes of a regular file. A pipe or a device is never waited for.

    Raises:
        OSError: It cannot be read, is no regular file, or changes while it is read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except ValueError:
        raise OSError(errno.EINVAL, "a name with a null character") from None
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise OSError(errno.EINVAL, f"{kind}, which is no regular file")
        content = file.read(min(most, status.st_size + 1))
    if len(content) != min(most, status.st_size):
        raise OSError(errno.EAGAIN, "a file that changes while it is read")
    return content


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


def is_special(path: Path) -> bool:
    """Returns whether a path is written into rather than replaced."""
    return open_file_of(path) is not None or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path))


def check_writable(path: Path) -> None:
    """Refuses a place where `write_whole` would fail after all the work is done, as far as that can be known before.

    Raises:
        DataError: It is a folder, or a file cannot be made there.
    """
    if is_special(path):
        return
    try:
        target = Path(os.path.realpath(path))
        with contextlib.suppress(FileNotFoundError):
            target.lstat()  # names too long, a file where a folder must be
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder")
        if target.exists() and os.access(target, os.W_OK):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target.parent, _make_file):
            pass
    except OSError as error:
        raise DataError(f"{path}: must be writable; got {reason(error)}. Choose another place.") from error


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
    leaves is removed by the next that writes to the folder. With `sync` the file outlives a power cut.

    Raises:
        OSError: The folder is missing or not writable, or the disk is full.
    """
    with _temporary(path.parent, _make_file) as (name, held):
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


def replace_text(path: Path, text: str) -> None:
    """Replaces a file by text in UTF-8, in which names that are not keep their own bytes; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


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


def _make_file(name: str) -> int:
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


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
