"""A cache in front of a database that does not read again what only this process writes: the trials that it runs.

Optuna reads every unfinished trial anew whenever somebody looks at the trials, which a pruner does at each report. That takes
a third of a millisecond for each trial that runs, so that a driver with a thousand workers would do little else.
"""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import StudyUserAttributeModel, TrialModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import CursorResult
from sqlalchemy.exc import IntegrityError

from search.storage.ends import End, Known, Stored, TellsEnds, read_stored


class OwnTrialsStorage(TellsEnds, _CachedStorage):
    """Optuna's cached storage, where the trials that this process has begun are known until they end.

    Another driver may end one of them, if it holds this one for dead; the next write to it fails then, and it is read again.

    Args:
        backend: Optuna's storage, which is open.
        writable: It may be written to.
    """

    def __init__(self, backend: RDBStorage, *, writable: bool = True) -> None:
        super().__init__(backend)
        self.writable = writable
        self.told_ends: dict[int, End] = {}
        self._own: set[int] = set()
        self._newest: dict[int, int] = {}  # by study, the highest id that was read; a study's trials get theirs in order

    def known(self, study_id: int) -> Known:
        """Returns what this process knows of a study, without asking the database."""
        return Known(list(self._studies[study_id].trials.values()) if study_id in self._studies else [], self.told_ends)

    def stored(self, name: str) -> Stored | None:
        """Returns what the database holds of a study, in a transaction of its own; None where it is not there."""
        with _create_scoped_session(self._backend.scoped_session) as session:
            return read_stored(session.connection(), name)

    def change_study_user_attr(self, study_id: int, key: str, change: Callable[[Any], Any]) -> None:
        """Changes a study's user attribute in one step: what `change` is given is what it replaces, whoever else writes."""
        attribute = StudyUserAttributeModel
        this = (attribute.study_id == study_id, attribute.key == key)
        while True:
            with _create_scoped_session(self._backend.scoped_session) as session:
                before = session.execute(sqlalchemy.select(attribute.value_json).where(*this)).scalar()
            after = json.dumps(change(None if before is None else json.loads(before)))
            if after == before:
                return
            with contextlib.suppress(IntegrityError), _create_scoped_session(self._backend.scoped_session) as session:
                if before is None:  # one only: study and key are unique
                    session.execute(sqlalchemy.insert(attribute).values(study_id=study_id, key=key, value_json=after))
                    return
                same = sqlalchemy.update(attribute).where(*this, attribute.value_json == before)
                if cast(CursorResult[Any], session.execute(same.values(value_json=after))).rowcount:
                    return

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Creates a trial, which is this process's own if it runs."""
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is None or template_trial.state is TrialState.RUNNING:
            self._own.add(trial_id)
        return trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Returns a trial, a copy where it is this process's own: Optuna writes what it suggests into it."""
        if trial_id not in self._own:
            return super().get_trial(trial_id)
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        return copy.deepcopy(self._studies[study_id].trials[number])

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Ends a trial, or begins one that was waiting: both are read again."""
        self._own.discard(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def end_trial(self, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime) -> None:
        """Ends a trial that has ended some time ago, as `set_trial_state_values` ends one now."""
        self._own.discard(trial_id)
        with self._telling(trial_id, state, values), _create_scoped_session(self._backend.scoped_session) as session:
            trial = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self._backend.check_trial_is_updatable(trial_id, trial.state)  # type: ignore[arg-type]
            for objective, value in enumerate(values or ()):
                self._backend._set_trial_value_without_commit(session, trial, objective, value)
            trial.state, trial.datetime_complete = state, ended

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Writes a parameter."""
        with self._noted(trial_id) as trial:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
            trial.distributions = {**trial.distributions, param_name: distribution}

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Writes a report."""
        with self._noted(trial_id) as trial:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes a user attribute."""
        with self._noted(trial_id) as trial:
            super().set_trial_user_attr(trial_id, key, value)
            trial.user_attrs = {**trial.user_attrs, key: json.loads(json.dumps(value))}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes a system attribute."""
        with self._noted(trial_id) as trial:
            super().set_trial_system_attr(trial_id, key, value)
            trial.system_attrs = {**trial.system_attrs, key: json.loads(json.dumps(value))}

    @contextlib.contextmanager
    def _noted(self, trial_id: int) -> Iterator[FrozenTrial]:
        """Yields the trial, to be changed as the database is: a copy, since callers may hold what they were given before."""
        if trial_id not in self._own:
            yield create_trial(state=TrialState.RUNNING)
            return
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        changed = copy.copy(self._studies[study_id].trials[number])
        try:
            yield changed
        except BaseException:
            self._own.discard(trial_id)
            raise
        self._studies[study_id].trials[number] = changed

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        """Takes trials in; one in the place of another is no trial of this study as it was."""
        there = self._studies[study_id].trials
        for trial in trials:
            if trial.number in there and there[trial.number]._trial_id != trial._trial_id:
                raise StorageInternalError(f"trial {trial.number} is there twice")
        super()._add_trials_to_cache(study_id, trials)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            newest = self._newest.get(study_id, -1)
            # A trial of our own that is new is read this once: after that, only we change it.
            trials = self._backend._get_trials(study_id, None, study.unfinished_trial_ids - self._own, newest)
            self._add_trials_to_cache(study_id, trials)
            for trial in trials:
                (study.unfinished_trial_ids.discard if trial.state.is_finished() else study.unfinished_trial_ids.add)(
                    trial._trial_id
                )
            self._newest[study_id] = max([newest, *(trial._trial_id for trial in trials)])
