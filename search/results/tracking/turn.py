"""Who sends a study to its trackers: one process at a time, or two would make two runs of a trial."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from search.optuna_internals import storage_of, study_id_of
from search.storage.cache import OwnTrialsStorage
from search.storage.study_lock import stop_sending, try_to_send
from search.storage.url import absolute, storage_file


class Turn:
    """The right to send an open study of a storage. It ends with its process, however that ends.

    On a server it is a lock of the database, so that of many machines that run a study's trials one sends them all, and another
    takes over where that is gone. For a study in a file it is a lock of this machine, in its folder for temporary files: where
    that is full, each process has the turn, since to send twice is better than not at all.
    """

    def __init__(self, study: optuna.Study, url: str) -> None:
        self._study = study
        self._connection: sqlalchemy.Connection | None = None
        self._file: FileLock | None = None
        self._on_server = storage_file(url) is None
        if not self._on_server:
            name = hashlib.sha256(f"{absolute(url)}#{study.study_name}".encode()).hexdigest()[:16]
            with contextlib.suppress(FileNotFoundError):
                self._file = FileLock(Path(tempfile.gettempdir()) / f"search-track-{os.getuid()}-{name}.lock")

    def take(self) -> bool:
        """Returns whether this process has the turn now; it keeps it until `end`."""
        if not self._on_server:
            try:
                if self._file is not None:
                    self._file.acquire(timeout=0)
            except Timeout:
                return False
            except OSError:  # there is no room for it
                pass
            return True
        if self._connection is not None:
            try:
                self._connection.execute(sqlalchemy.text("SELECT 1"))
            except SQLAlchemyError:  # it was lost, and the turn with it
                self.end()
        if self._connection is None:
            storage = storage_of(self._study)
            assert isinstance(storage, OwnTrialsStorage)
            self._connection = try_to_send(storage.backend.engine, study_id_of(self._study))
        return self._connection is not None

    def end(self) -> None:
        """Lets another process have it."""
        if self._file is not None:
            self._file.release(force=True)
        if self._connection is not None:
            stop_sending(self._connection, study_id_of(self._study))
            self._connection = None
