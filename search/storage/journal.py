"""Optuna's journal file: a log of operations that works where SQLite does not, on network file systems."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.errors import StorageError
from search.optuna_internals import BaseJournalFileLock, OpenJournal, study_id_of
from search.records.attributes import TOKEN_KEY
from search.storage.errors import remedy
from search.storage.journal_lock import LocalLock, MendingLock, NetworkLock, NoLock
from search.storage.mounts import network_file_system
from search.storage.trial_ends import Stored, TellsEnds, end_of
from search.text import one_line


class Journal(TellsEnds, OpenJournal):
    """Optuna's storage, with what a driver wants beside.

    Its path has no symbolic links: its lock lies beside it, and must be the same one for everybody.
    """

    def __init__(self, path: Path, lock: BaseJournalFileLock) -> None:
        self.path = path
        self._file_lock = lock
        super().__init__(JournalFileBackend(str(path), lock_obj=lock))

    def stored(self, name: str) -> Stored | None:
        """Returns what the file holds of a study, read from its beginning; None where it is not there."""
        fresh = JournalStorage(JournalFileBackend(str(self.path), lock_obj=NoLock(self.path)))
        for study in fresh.get_all_studies():
            if study.study_name == name:
                trials = fresh.get_all_trials(study_id_of(study), deepcopy=False)
                return Stored(study.system_attrs.get(TOKEN_KEY), {trial.number: end_of(trial) for trial in trials})
        return None

    def end_trial(self, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime) -> None:
        """Ends a trial that has ended some time ago, as `set_trial_state_values` ends one now."""
        moment = ended.astimezone(UTC).isoformat(timespec="microseconds")
        record = {"trial_id": trial_id, "state": state, "values": values, "datetime_complete": moment}
        with self.telling(trial_id, state, values):
            self.write_end(record)

    def change_study_user_attr(self, study_id: int, key: str, change: Callable[[Any], Any]) -> None:
        """Changes a study's user attribute in one step: what `change` is given is what it replaces, whoever else writes.

        Raises:
            KeyError: The study was deleted.
        """
        self._file_lock.acquire()
        try:
            before = self.get_study_user_attrs(study_id).get(key)
            if (after := change(before)) != before:
                self.set_study_user_attr(study_id, key, after)
        finally:
            self._file_lock.release()


def open_journal(url: str, path: Path, *, writable: bool) -> Journal:
    """Opens a journal; creates it where it is not there and `writable`.

    Raises:
        StorageError: The file is no journal, or a line of it is damaged.
        OSError: It cannot be read or written.
    """
    path = path.resolve()
    lock: BaseJournalFileLock = NoLock(path)
    if writable:
        lock = MendingLock(path, NetworkLock(path) if network_file_system(path) is not None else LocalLock(path))
        with path.open("ab"):
            pass  # proves that it may be written, before the first trial runs
    try:
        return Journal(path, lock)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:  # whatever replaying it stumbles on
        reason = one_line(error)
        raise StorageError(f"{url}: must be a sound journal of Optuna; got: {reason}. {remedy('malformed')}") from None
