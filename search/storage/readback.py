"""Checks that a storage holds what its driver wrote to it: looks at it all along, reads it anew now and then and at the end."""

import contextlib
import math
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import optuna
import sqlalchemy

from search.errors import StorageError
from search.optuna_internals import storage_of, study_id_of, trial_id_of
from search.records.attributes import TOKEN_KEY
from search.storage import sqlite
from search.storage.cache import OwnTrialsStorage
from search.storage.errors import FAILURES, NO_DATABASE, describe_error, remedy
from search.storage.journal import Journal
from search.storage.rescue import Frame, rescue
from search.storage.server import ReconnectingStorage
from search.storage.trial_ends import End, Stored, read_stored
from search.storage.url import file_url, folder, hide_password, stem_of, storage_file
from search.text import file_name, one_line

_EVERY_S = 30.0
_AT_LEAST_S = 1.0  # where the file has changed: a journal with each record, a database whenever its log is folded into it
_SHARE = 100  # one part in so many of a launch's time may go into reading back
_LONGEST_S = 3.0  # counts as no longer: it may have been a server that was waited for


class ReadBack:
    """Compares a study in its storage with what this process knows of it, and ends the launch where that is not there.

    This process drives the study or has joined it. Where `resumes` is true, `search launch` goes on from what is rescued; else
    the same command must, on the mended storage.
    """

    def __init__(self, study: optuna.Study, url: str, *, resumes: bool = True) -> None:
        storage = storage_of(study)
        assert isinstance(storage, OwnTrialsStorage | Journal)
        self._study = study
        self._storage = storage
        self._url = url
        self._resumes = resumes
        path = storage_file(url)
        self._path = path.resolve() if path is not None else None
        self._frame = Frame.of(study)
        storage.get_study_user_attrs(study_id_of(study))  # which it knows from now on
        self._token = self._frame.system_attrs.get(TOKEN_KEY)
        self._files = self._look()
        self._confirmed = 0  # ends told so far that were found again
        self._read_at, self._took_s = time.monotonic(), 0.0
        self._changed = False
        self._over = False

    def poll(self) -> None:
        """Looks at the storage's files without opening them, and reads back where it is time; takes microseconds otherwise.

        Raises:
            StorageError: Something of what was written is not there any more.
        """
        if (wrong := self._moved()) is not None:
            self._give_up(wrong)
        since = time.monotonic() - self._read_at
        if since >= max(_AT_LEAST_S if self._changed else _EVERY_S, _SHARE * self._took_s):
            self.check()

    def check(self) -> None:
        """Reads back what was written.

        Raises:
            StorageError: Something of it is not there.
        """
        if (wrong := self._wrong()) is not None:
            self._give_up(wrong)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Reads back at the end of the block, or where that fails: what a broken storage leads to is of many kinds.

        Raises:
            StorageError: Something of what was written is not there.
        """
        try:
            yield
        except Exception as error:
            if self._over or (wrong := self._wrong()) is None:
                raise
            self._give_up(describe_error(error, self._url) if isinstance(error, FAILURES) else wrong, error)
        if isinstance(self._storage, OwnTrialsStorage) and self._path is not None:
            sqlite.checkpoint_wal(self._storage.backend.engine)
        self.check()

    def _moved(self) -> str | None:
        """Returns what happened to the files, as far as their place and size tell."""
        now = self._look()
        for name, before in self._files.items():
            if name not in now:
                return f"{name} was removed"
            if now[name].inode != before.inode:
                return f"{name} was replaced by another file"
        if self._path is None:
            return None
        name = self._path.name
        before, after = self._files[name], now[name]
        if after.size == 0 or (isinstance(self._storage, Journal) and after.size < before.size):
            return f"{name} was cut to {after.size} bytes"
        self._changed |= after != before or any(now[name].size < file.size for name, file in self._files.items())
        self._files = {name: now[name] for name in self._files}
        return None

    def _wrong(self) -> str | None:
        """Returns what differs between the storage and what is known, or None."""
        began = time.monotonic()
        try:
            return self._moved() or self._difference()
        except FAILURES as error:
            away = isinstance(self._storage, ReconnectingStorage) and remedy(str(error)) != NO_DATABASE
            known = self._storage.known(study_id_of(self._study))
            return None if away and len(known.told_ends) == self._confirmed else describe_error(error, self._url)
        except (LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:  # what damaged records lead to
            return f"damaged records, {one_line(error)}"
        finally:
            self._read_at = time.monotonic()
            self._took_s, self._changed = min(self._read_at - began, _LONGEST_S), False

    def _difference(self) -> str | None:
        known = self._storage.known(study_id_of(self._study))
        stored = self._stored()
        if stored is None:
            return f'no study "{self._frame.name}"'
        if stored.token != self._token:
            return f'another study called "{self._frame.name}"'
        told = {trial.number for trial in known.trials if trial_id_of(trial) in known.told_ends}
        missing = [n for n, end in known.ends().items() if not _is_there(end, stored.ends.get(n), told=n in told)]
        if missing:
            some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            return f"{len(missing)} of {len(known.trials)} trials not as they were written ({some})"
        self._confirmed = len(known.told_ends)
        return None

    def _stored(self) -> Stored | None:
        if isinstance(self._storage, Journal | ReconnectingStorage):
            return self._storage.stored(self._frame.name)
        assert self._path is not None
        engine = sqlalchemy.create_engine(sqlite.ANY_FILE, **sqlite.engine_options(self._path, writable=False))
        with engine.connect() as connection:
            if (damage := sqlite.check_whole(connection)) is not None:
                raise sqlite3.DatabaseError(damage)
            return read_stored(connection, self._frame.name)

    def _look(self) -> dict[str, sqlite.FileVersion]:
        if self._path is None:
            return {}
        paths = (self._path,) if isinstance(self._storage, Journal) else sqlite.names(self._path)
        files = {}
        for path in paths:
            with contextlib.suppress(OSError):  # it is not there
                files[path.name] = sqlite.FileVersion.of(path)
        return files

    def _give_up(self, wrong: str, error: Exception | None = None) -> NoReturn:
        self._over = True
        again = "" if self._resumes else f"{remedy(wrong)} "
        raise StorageError(
            f"{hide_password(self._url)}: the storage must keep what was written to it; got: {wrong.rstrip('.')}. "
            f"No further trial is started. {again}{self._save()}"
        ) from error

    def _save(self) -> str:
        known = self._storage.known(study_id_of(self._study))
        stem = stem_of(self._path) if self._path is not None else file_name(self._frame.name)
        path = rescue(self._frame, known, stem, folder(self._url))
        if path is None:
            return f"What is known, {len(known.trials)} trials, could not be saved anywhere else either."
        saved = file_url("journal", path)
        shown = f"All that is known, {len(known.trials)} trials, is saved: search status '{saved}#{self._frame.name}' shows it"
        return f"{shown}, and search launch with --storage '{saved}' goes on from there." if self._resumes else f"{shown}."


def mark(study: optuna.Study) -> None:
    """Gives a study its token, where it has none, or what is none."""
    storage, study_id = storage_of(study), study_id_of(study)
    if token_in(storage.get_study_system_attrs(study_id)) is None:
        storage.set_study_system_attr(study_id, TOKEN_KEY, secrets.token_hex(8))


def token_in(system_attrs: Mapping[str, Any]) -> str | None:
    """Returns the token among a study's attributes; None for any other text, which must not become part of a path."""
    token = system_attrs.get(TOKEN_KEY)
    return token if isinstance(token, str) and re.fullmatch("[0-9a-f]{16}", token) else None


def _is_there(wanted: End, found: End | None, *, told: bool) -> bool:
    """Returns whether a trial is as it should be; one that was not told how it stands may have changed: by another driver."""
    if found is None:
        return False
    if not (told or wanted[0].is_finished()):
        return True
    (state, values), (wanted_state, wanted_values) = found, wanted
    same = len(values) == len(wanted_values) and all(
        math.isclose(a, b, rel_tol=1e-12) for a, b in zip(values, wanted_values, strict=True)
    )
    return state is wanted_state and same
