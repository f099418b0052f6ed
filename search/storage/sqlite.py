"""SQLite: one file, in WAL mode with a busy timeout, so that any number of readers never disturb the driver."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy

from search.errors import StorageError, one_line
from search.storage.file_systems import network_file_system
from search.storage.remedies import remedy

_BUSY_TIMEOUT_S = 30.0
_HEADER = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat.html, section 1.3


def prepare(url: str, path: Path) -> None:
    """Proves that the file is, or can become, a sound database that we may write; switches it to WAL.

    Raises:
        StorageError: It is not, or it lies on a network file system.
    """
    network = network_file_system(path)
    if network is not None:
        raise StorageError(
            f"{url}: SQLite needs a local file system, as its locks and shared memory fail on others; "
            f"got {network}. Use a local path, journal:///{path.with_suffix('.log')}, or a database server."
        )
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_HEADER)) != _HEADER:
                raise StorageError(
                    f"{url}: must be an SQLite database; got a file of another kind. Move it, or change the storage."
                )
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StorageError(f"{url}: must be a sound database; got: {one_line(found)}. {remedy('malformed')}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def engine_options() -> dict[str, Any]:
    """Returns what SQLAlchemy's engine is made with."""
    return {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}


def relax_fsync(engine: sqlalchemy.Engine) -> None:
    """Saves an fsync a commit: WAL survives a killed process without.

    See https://www.sqlite.org/pragma.html#pragma_synchronous.
    """
    sqlalchemy.event.listen(engine, "connect", _set_synchronous)
    engine.dispose()  # a connection made before would not know


def _set_synchronous(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
