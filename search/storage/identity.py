"""What tells a study from its copies, which hold the same records: the storage that it is in, and its id there."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage

from search.storage.cache import OwnTrialsStorage
from search.storage.journal import Journal

_DATABASE = {"postgresql": "SELECT current_database()", "mysql": "SELECT DATABASE()"}


@dataclass(frozen=True)
class Identity:
    """A study, told apart from its copies.

    Attributes:
        study: The kind of its storage, and its id there, which is the same for every machine.
        places: What the storage is known by here, in hashes. Two looks at one have at least one of them in common: a file that
            has several paths, or was renamed, keeps its inode.
    """

    study: str
    places: tuple[str, ...]

    @classmethod
    def of(cls, storage: BaseStorage, study_id: int) -> "Identity | None":
        """Returns that of a study; None where its storage is in memory, which has no other place."""
        if isinstance(storage, Journal):
            return cls(f"journal {study_id}", tuple(_of_file(storage.path)))
        if not isinstance(storage, OwnTrialsStorage):
            return None
        kind = storage.backend.engine.dialect.name
        places = _of_server(storage, kind) if storage.path is None else _of_file(storage.path)
        return cls(f"{kind} {study_id}", tuple(places))

    def may_be(self, attr: Any, *, here: bool) -> bool:
        """Returns False where an attribute, an identity as a dictionary or anything else, is known to be another study's.

        Where it was not kept `here`, on this machine, its place tells nothing: another may see a shared storage elsewhere.
        """
        match attr:
            case {"study": str(study), "places": [*places]}:
                return study == self.study and (not here or any(place in places for place in self.places))
        return True


def _of_file(path: Path) -> Iterator[str]:
    resolved = path.resolve()
    yield _hash(f"path {resolved}")
    with contextlib.suppress(OSError):
        yield _hash(f"inode {resolved.stat().st_ino}")  # without the device, whose number is that of a mount


def _of_server(storage: OwnTrialsStorage, kind: str) -> Iterator[str]:
    """As the server itself calls the database: its host has any number of names, and a URL need not have the database's."""
    with storage.session() as session:
        yield _hash(f"database {session.execute(sqlalchemy.text(_DATABASE[kind])).scalar()}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
