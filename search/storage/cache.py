"""A cache in front of a database that does not read again what only this process writes, nor what waits as it did before.

Optuna reads every unfinished trial anew whenever somebody looks at the trials, which a pruner does at each report. That takes
a third of a millisecond for each trial that runs, so that a driver with a thousand workers would do little else.
"""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import CursorResult
from sqlalchemy.exc import IntegrityError

from search.optuna_internals import CachedStorage, models
from search.storage import sqlite
from search.storage.marks import read_marks
from search.storage.together import Changes
from search.storage.trial_ends import Stored, TellsEnds, read_stored


class OwnTrialsStorage(TellsEnds, CachedStorage):
    """Optuna's cached storage, where the trials that this process has begun are known until they end.

    Another driver may end one of them, if it holds this one for dead; the next write to it fails then, and it is read again.

    Attributes:
        path: The storage's file; None for a server.
        alone: Whether no other process writes to the trials of a study that this one drives.
    """

    def __init__(self, backend: RDBStorage, *, writable: bool = True, path: Path | None = None) -> None:
        super().__init__(backend)
        self.writable = writable
        self.path = path
        self.alone = writable
        self._held: dict[int, Changes] = {}  # by trial

    @contextlib.contextmanager
    def together(self, trial_id: int) -> Iterator[None]:
        """Writes what the block says of a trial at its end, in one transaction, if the trial is this process's own.

        It is known at once. The state of the trial is to be changed after the block.

        Raises:
            UpdateFinishedTrialError: At the end: another driver has ended the trial. Nothing of it is written.
        """
        if trial_id not in self.own:
            yield
            return
        changes = self._held[trial_id] = Changes()
        try:
            yield
        finally:
            del self._held[trial_id]
            if changes != Changes():  # nothing
                with self._writing(trial_id):
                    self.write_changes(trial_id, changes)

    def write_changes(self, trial_id: int, changes: Changes) -> None:
        """Writes changes to a trial in one transaction.

        Raises:
            UpdateFinishedTrialError: It has ended. Nothing is written.
        """
        with self.changing(trial_id) as (session, _):
            changes.write(session.connection(), trial_id)

    def stored(self, name: str) -> Stored | None:
        """Returns what the database holds of a study, in a transaction of its own; None where it is not there."""
        with self.session() as session:
            return read_stored(session.connection(), name)

    def change_study_user_attr(self, study_id: int, key: str, change: Callable[[Any], Any]) -> None:
        """Changes a study's user attribute in one step: what `change` is given is what it replaces, whoever else writes.

        Raises:
            KeyError: The study was deleted.
        """
        attribute = models.StudyUserAttributeModel
        this = (attribute.study_id == study_id, attribute.key == key)
        while True:
            with self.session() as session:
                models.StudyModel.find_or_raise_by_id(study_id, session)
                before = session.execute(sqlalchemy.select(attribute.value_json).where(*this)).scalar()
            after = json.dumps(change(None if before is None else json.loads(before)))
            if after == before:
                return
            with contextlib.suppress(IntegrityError), self.session() as session:
                if before is None:  # one only: study and key are unique
                    session.execute(sqlalchemy.insert(attribute).values(study_id=study_id, key=key, value_json=after))
                    return
                same = sqlalchemy.update(attribute).where(*this, attribute.value_json == before)
                if cast(CursorResult[Any], session.execute(same.values(value_json=after))).rowcount:
                    return

    def read_marks(self, study_id: int, trial_ids: Sequence[int] | None) -> dict[int, int]:
        """Returns a mark of each trial that waits, in no time where none is to be looked at."""
        if trial_ids is not None and not trial_ids:
            return {}
        with self.session() as session:
            return read_marks(session, study_id, trial_ids)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Creates a trial, which is this process's own if it runs."""
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is None or template_trial.state is TrialState.RUNNING:
            self.own.add(trial_id)
        return trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Returns a trial, a copy where it is this process's own: Optuna writes what it suggests into it."""
        return copy.deepcopy(self.cached_trial(trial_id)) if trial_id in self.own else super().get_trial(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Ends a trial, begins one that was waiting, or lets one wait.

        It is read again, since another driver may take up what waits; where there is none, a trial that waits or runs is known.
        """
        known = self.alone and trial_id in self.own
        self.own.discard(trial_id)
        self.forget_mark(trial_id)
        with self.telling(trial_id, state, values):
            if state is not TrialState.RUNNING:
                self._sync_commit()
            done = super().set_trial_state_values(trial_id, state, values)
        if self.alone and not state.is_finished():
            if known and state is TrialState.WAITING:  # nothing else of it has changed
                self._set(trial_id, "state", state)
            else:
                self.replace_cached(trial_id, self.backend.get_trial(trial_id))
            self.own.add(trial_id)
        return done

    def end_trial(self, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime) -> None:
        """Ends a trial that has ended some time ago, as `set_trial_state_values` ends one now."""
        self.own.discard(trial_id)
        with self.telling(trial_id, state, values):
            self._sync_commit()
            self.end_trial_at(trial_id, state, values, ended)

    def _sync_commit(self) -> None:
        """Has this thread's next transaction survive a power cut; a server's do."""
        if self.path is not None:
            sqlite.sync_commit(self.backend.scoped_session().connection())

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Writes a parameter."""
        with self._writing(trial_id) as held:
            if held is None or not self.takes_distribution(trial_id, param_name, distribution, alone=self.alone):
                super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            else:
                held.params[param_name] = (param_value_internal, distribution)
        self._note(trial_id, "params", param_name, distribution.to_external_repr(param_value_internal))
        self._note(trial_id, "distributions", param_name, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Writes a report."""
        self._change(trial_id, "intermediate_values", step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes a user attribute."""
        self._change(trial_id, "user_attrs", key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes a system attribute."""
        self._change(trial_id, "system_attrs", key, value)

    def _change(self, trial_id: int, field: str, key: Any, value: Any) -> None:
        """Writes an entry of a field that `FrozenTrial` and `Changes` have, or holds it; the cache has it as JSON keeps it."""
        with self._writing(trial_id) as held:
            if held is None:
                self.write_changes(trial_id, Changes(**{field: {key: value}}))  # Optuna's own methods lock no row
            else:
                getattr(held, field)[key] = value
        self._note(trial_id, field, key, json.loads(json.dumps(value)))

    @contextlib.contextmanager
    def _writing(self, trial_id: int) -> Iterator[Changes | None]:
        """Yields where to hold a change; None where it is to be written. Reads a trial again after a write that failed."""
        self.forget_mark(trial_id)
        try:
            yield self._held.get(trial_id)
        except BaseException:
            self.own.discard(trial_id)
            raise

    def _note(self, trial_id: int, field: str, key: Any, value: Any) -> None:
        """Changes an own trial in the cache as it is in the database: a copy of it, since callers may hold the former one."""
        if trial_id in self.own:
            self._set(trial_id, field, {**getattr(self.cached_trial(trial_id), field), key: value})

    def _set(self, trial_id: int, field: str, value: Any) -> None:
        changed = copy.copy(self.cached_trial(trial_id))
        setattr(changed, field, value)
        self.replace_cached(trial_id, changed)
