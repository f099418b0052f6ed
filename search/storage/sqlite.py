"""SQLite: one file, in WAL mode with a busy timeout, that any number of readers open read-only beside the driver.

Nothing here, and nothing else in a process that may hold a database, opens its file but SQLite: closing any other handle on it
drops the process's POSIX locks, and the next program that closes the database then deletes the write-ahead log under the
driver (https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

import contextlib
import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from search.errors import StorageError
from search.storage.errors import remedy
from search.storage.mounts import network_file_system
from search.storage.study_lock import on_connect
from search.storage.url import file_url
from search.text import one_line, show_path

_BUSY_TIMEOUT_S = 30.0
_PAUSE_S = 0.05
_CHECKPOINT_MS = 2000
_RELAXED = "PRAGMA synchronous=NORMAL"
_SYNCED = "synced"
_COARSEST_NS = 2_000_000_000  # as coarse as any file system keeps the time of a change

ANY_FILE = "sqlite:///storage.db"
"""Stands for the URL where SQLAlchemy needs one: the path goes to SQLite itself, as a URL cannot hold all that a path can."""


def prepare(url: str, path: Path) -> None:
    """Proves that the file is, or can become, a sound database that we may write; switches it to WAL.

    Raises:
        StorageError: It is not, has a second name, or lies on a network file system.
    """
    _check_local(url, path)
    _check_one_name(url, path)
    try:
        with contextlib.closing(_connect(path, "rwc")) as connection:
            _check_sound(connection, url)
            _switch_to_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.OperationalError:
        _check_files_beside(url, path)
        raise


def check_readable(url: str, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
    """Proves that the file is a database that can be opened for reading alone, as `connect` does.

    Raises:
        StorageError: It is not, or lies where it cannot be read.
    """
    _check_local(url, path)
    try:
        with contextlib.closing(connect()) as connection:
            _schema_version(connection, url)
    except sqlite3.OperationalError:
        log = _beside(path, "-wal")
        if os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK) or not _size(log):
            raise
        raise StorageError(
            f"{url}: must be readable with its write-ahead log, {log.name}; got a folder that may not be written to. "
            f"Copy the file with its {log.name} to where you may write."
        ) from None


def engine_options(path: Path, *, writable: bool) -> dict[str, Any]:
    """Returns what SQLAlchemy's engine is made with; it never makes a new file in the place of one that was removed."""
    if writable:
        return {"creator": lambda: _connect(path, "rw"), "poolclass": QueuePool}
    return {"creator": _Reader(path), "poolclass": NullPool}  # each looks anew whether it may read the file itself


def relax_fsync(engine: sqlalchemy.Engine) -> None:
    """Saves an fsync a commit: WAL survives a killed process without, but a power cut only up to the last `sync_commit`.

    See https://www.sqlite.org/pragma.html#pragma_synchronous.
    """
    on_connect(engine, _RELAXED)

    def relax(connection: sqlite3.Connection | None, record: sqlalchemy.pool.ConnectionPoolEntry) -> None:
        if record.info.pop(_SYNCED, False) and connection is not None:
            with contextlib.suppress(sqlite3.Error):  # then it goes on with more fsyncs than it needs
                connection.execute(_RELAXED)

    sqlalchemy.event.listen(engine, "checkin", relax)


def sync_commit(connection: sqlalchemy.Connection) -> None:
    """Has what a connection commits until it is closed, and all that was committed before, survive a power cut.

    To be called before the transaction has written anything.
    """
    connection.exec_driver_sql("PRAGMA synchronous=FULL")
    connection.info[_SYNCED] = True


def checkpoint_wal(engine: sqlalchemy.Engine) -> None:
    """Moves the write-ahead log into the file, which then holds all: a reader that closes last could not.

    Where a reader or another writer is in the way for longer, the log holds it as well.
    """
    with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql(f"PRAGMA busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}")


def names(path: Path) -> tuple[Path, ...]:
    """Returns the files that a database consists of while a driver has it open."""
    return path, _beside(path, "-wal"), _beside(path, "-shm")


def check_whole(connection: sqlalchemy.Connection) -> str | None:
    """Returns what is wrong with the pages of a database, or None."""
    result = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    return None if result == "ok" else one_line(result)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    name = quote(os.fsencode(path.resolve()))
    return sqlite3.connect(f"file:{name}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)


class FileVersion(NamedTuple):
    """What tells a file from another one, and from itself before a change, without opening it."""

    inode: tuple[int, int]
    changed_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Returns that of a file."""
        stat = path.stat()
        return cls((stat.st_dev, stat.st_ino), stat.st_mtime_ns, stat.st_size)


class _Reader:
    """Connects for reading alone, and leaves nothing behind that is in the way of the file's owner.

    In WAL mode a reader needs the two files beside the database, makes them where they are not there, and cannot remove them:
    others must not be in the file then, and a lock that keeps them out takes the right to write to it. So where they are not
    there, and would be another's than the database, it reads a copy in memory, which serves all threads until the file changes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._name = ""
        self._copied: FileVersion | None = None
        self._held = contextlib.ExitStack()  # SQLite keeps the copy for as long as a connection to it is open
        weakref.finalize(self, self._held.close)

    def __call__(self) -> sqlite3.Connection:
        with self._lock:
            while not _may_make_files(self._path):
                now, before = time.time_ns(), FileVersion.of(self._path)
                if before != self._copied:
                    self._copy()
                if before == FileVersion.of(self._path) and not _may_make_files(self._path):
                    settled = now - before.changed_ns > _COARSEST_NS  # else the next change may have the same time
                    self._copied = before if settled else None
                    return self._open_copy()
            self._forget()
        return _connect(self._path, "ro")

    def _forget(self) -> None:
        self._held.close()
        self._copied = None

    def _copy(self) -> None:
        """Copies a database that nobody has open; whether it has changed meanwhile is for the caller to see."""
        self._forget()
        self._name = uuid.uuid4().hex
        copy = self._held.enter_context(contextlib.closing(self._open_copy()))
        with contextlib.closing(_connect(self._path, "ro&immutable=1")) as file:
            file.backup(copy)

    def _open_copy(self) -> sqlite3.Connection:
        name = f"file:{self._name}?mode=memory&cache=shared"
        connection = sqlite3.connect(name, uri=True, check_same_thread=False)
        connection.execute("PRAGMA query_only=ON")
        return connection


def _may_make_files(path: Path) -> bool:
    """Returns whether a reader may make the two files, or need not; root gives them to the database's owner."""
    _, log, index = names(path)
    rollback = _beside(path, "-journal")  # a program of plain Optuna, which knows no WAL mode, writes
    if _size(log) or index.exists() or rollback.exists() or not path.exists():
        return True
    return os.geteuid() in (0, path.stat().st_uid) and os.access(path.parent, os.W_OK)


def _check_local(url: str, path: Path) -> None:
    network = network_file_system(path)
    if network is not None:
        raise StorageError(
            f"{url}: SQLite needs a local file system, as its locks and shared memory fail on others; "
            f"got {network}. Use a local path, {file_url('journal', path.with_suffix('.log'))}, or a database server."
        )


def _check_one_name(url: str, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        links = path.stat().st_nlink
        if links > 1:
            raise StorageError(
                f"{url}: a database must have one name, as its write-ahead log is found by it; got {links} hard links. "
                "Copy the file, and use the copy."
            )


def _check_files_beside(url: str, path: Path) -> None:
    if not os.access(path, os.W_OK):
        return
    locked = [each for each in names(path)[1:] if each.exists() and not os.access(each, os.W_OK)]
    if locked:
        raise StorageError(
            f"{url}: the files beside it must be writable too; got {locked[0].name} of {_owner(locked[0])}. "
            f"Have them run: chmod a+w {' '.join(map(show_path, locked))}."
        )


def _owner(path: Path) -> str:
    try:
        return f"user {path.owner()}"
    except KeyError:
        return f"user {path.stat().st_uid}"


def _check_sound(connection: sqlite3.Connection, url: str) -> None:
    _schema_version(connection, url)
    result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        raise StorageError(f"{url}: must be a sound database; got: {one_line(result)}. {remedy('malformed')}")


def _schema_version(connection: sqlite3.Connection, url: str) -> None:
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise StorageError(
            f"{url}: must be an SQLite database; got a file of another kind. Move it, or change the storage."
        ) from None


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switches, and waits where another process does the same: SQLite does not wait by itself then."""
    until = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(_PAUSE_S)


def _beside(path: Path, suffix: str) -> Path:
    path = path.resolve()
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
