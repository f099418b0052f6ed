"""The one module that uses private names of Optuna, whose version is capped for their sake (setup.cfg)."""

import abc
import contextlib
import copy
import functools
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import StorageInternalError
from optuna.samplers import CmaEsSampler, TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.storages.journal import JournalStorage
from optuna.storages.journal._file import LOCK_FILE_SUFFIX, BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.study._multi_objective import _get_pareto_front_trials_by_trials
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

__all__ = [
    "ARTIFACTS_ATTR_PREFIX",
    "LOCK_FILE_SUFFIX",
    "METRIC_NAMES",
    "BaseJournalFileLock",
    "CachedStorage",
    "OpenJournal",
    "models",
]

METRIC_NAMES = "study:metric_names"
"""Study system attribute: the names of the values."""


def storage_of(study: optuna.Study) -> BaseStorage:
    """Returns the storage of a study."""
    return study._storage


def study_id_of(study: optuna.Study | FrozenStudy) -> int:
    """Returns the id of a study in its storage."""
    return study._study_id


def trial_id_of(trial: optuna.Trial | FrozenTrial) -> int:
    """Returns the id of a trial in its storage."""
    return trial._trial_id


@functools.cache
def head_revision() -> str | None:
    """Returns the revision of the tables that the installed Optuna makes, as its migration scripts state it; None if unclear.

    Alembic finds it by running all of them, which takes longer than all else that is done to open a database.
    """
    folder = Path(models.__file__).parent / "alembic" / "versions"
    stated = [dict(re.findall(r'^(\w+) = "(.+)"$', script.read_text(), re.MULTILINE)) for script in folder.glob("*.py")]
    heads = {each.get("revision") for each in stated} - {each.get("down_revision") for each in stated}
    return heads.pop() if len(heads) == 1 else None


def add_trial(study: optuna.Study, trial: FrozenTrial) -> int:
    """Adds a trial as it is, and returns its id: `Study.add_trial` wants more of one, such as the time of its start."""
    return study._storage.create_new_trial(study._study_id, template_trial=trial)


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Returns a parameter, drawn from any distribution."""
    return trial._suggest(name, distribution)


def report(trial: optuna.Trial, value: float, step: int) -> None:
    """Records an intermediate value, even where a foreign file in the place of the study's had one of this step."""
    trial._cached_frozen_trial.intermediate_values.pop(step, None)  # `Trial.report` would let it go with a warning
    trial.report(value, step)


class _Seen(optuna.Study):
    """A study that shows given trials to its sampler."""

    shown: list[FrozenTrial]

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self.shown if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


def seeing(study: optuna.Study, trials: Sequence[FrozenTrial]) -> optuna.Study:
    """Returns a study object of its own whose sampler sees these trials, whatever is in the storage."""
    copied = copy.copy(study)
    copied.__class__ = _Seen
    assert isinstance(copied, _Seen)
    copied.shown = list(trials)
    return copied


def tell_once(trial: optuna.Trial, state: TrialState, values: Sequence[float] | None) -> TrialState:
    """Tells how a trial ended, as `Study.optimize` does; returns the state that is stored, another one where it had ended.

    `Study.tell` would read the trial once more, only to return it.
    """
    return _tell_with_warning(trial.study, trial, values, state, skip_if_finished=True)[0]


def pareto_front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Returns the COMPLETE trials that no other one dominates."""
    return _get_pareto_front_trials_by_trials(trials, directions)


class Weighing(Protocol):
    """What a `WeighingTPESampler` goes by, besides the trials' values."""

    def draw(self, name: str, distribution: BaseDistribution, fraction: float) -> Any:
        """Returns the value of a parameter, given a number from [0, 1), while there are too few trials to learn from."""

    def terms(
        self, trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution], candidates: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64]:
        """Returns what each candidate gets in addition, in nats.

        Args:
            trials: The COMPLETE and PRUNED ones.
            space: The parameters that are drawn together.
            candidates: Their values in Optuna's internal representation, one array of shape (candidates,) each.
        """


class WeighingTPESampler(TPESampler):
    """A TPE whose candidates are compared by ``log l - log g`` and by what a `Weighing` adds to it."""

    def __init__(self, weighing: Weighing, **options: Any) -> None:
        super().__init__(**options)
        self._weighing = weighing
        self._trials: list[FrozenTrial] = []
        self._drawn: Mapping[str, BaseDistribution] = {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draws one parameter alone; see `BaseSampler`."""
        if len(_learned_from(study)) < self._n_startup_trials:
            return self._weighing.draw(param_name, param_distribution, self._rng.rng.uniform())
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        self._trials, self._drawn = _learned_from(study), search_space
        return super()._sample(study, trial, search_space)

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: _ParzenEstimator, mpe_above: _ParzenEstimator
    ) -> NDArray[np.float64]:
        ratio: NDArray[np.float64] = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        return ratio + self._weighing.terms(self._trials, self._drawn, samples)


class OpenCmaEsSampler(CmaEsSampler):
    """Optuna's CMA-ES, in the reach of ours: how it reads the optimizer that it has kept with a trial."""

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        key = self._attr_key_optimizer
        for trial in reversed(completed_trials):
            if parts := [name for name in trial.system_attrs if name.startswith(key)]:
                text = "".join(str(trial.system_attrs.get(f"{key}:{index}")) for index in range(len(parts)))
                return self.read_optimizer(text, trial.number)
        return None

    @abc.abstractmethod
    def read_optimizer(self, text: str, number: int) -> Any:
        """Returns what the trial of a number has, a pickle in hexadecimal digits; Optuna would run whatever it names."""


def _learned_from(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


class CachedStorage(_CachedStorage):
    """Optuna's cache in front of a database, in the reach of ours; a trial that waits is read again where its mark has changed.

    Attributes:
        backend: Optuna's storage without a cache.
        own: The ids of unfinished trials that need not be read again: the cache is told of each change to them.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.backend = backend
        self.own: set[int] = set()
        self._newest: dict[int, int] = {}  # by study, the highest id that was read; a study's trials get theirs in order
        self._marks: dict[int, int] = {}  # by trial that waited when it was read

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Begins a transaction of its own, which the end of the block commits."""
        with _create_scoped_session(self.backend.scoped_session) as session:
            yield session

    @contextlib.contextmanager
    def changing(self, trial_id: int) -> Iterator[tuple[Session, models.TrialModel]]:
        """Begins a transaction that changes a trial, which nobody ends meanwhile: a server locks its row.

        Raises:
            UpdateFinishedTrialError: The trial has ended.
        """
        with self.session() as session:
            trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self.backend.check_trial_is_updatable(trial_id, trial.state)  # type: ignore[arg-type]
            yield session, trial

    def takes_distribution(self, trial_id: int, name: str, distribution: BaseDistribution, *, alone: bool) -> bool:
        """Returns whether this process knows that a parameter may be drawn so: it was before, or no trial has it.

        `alone` is that no other process writes to the study's trials, so that none has what is in no trial of the cache.

        Raises:
            ValueError: It was drawn from what is no such distribution.
        """
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        study = self._studies[study_id]
        known = study.param_distribution
        if name not in known:
            drawn_before = (trial.distributions[name] for trial in study.trials.values() if name in trial.distributions)
            all_cached = alone and len(study.trials) > number
            before = next(drawn_before, distribution if all_cached else None)
            if before is None:
                return False
            known[name] = before
        check_distribution_compatibility(known[name], distribution)
        return True

    def known_trials(self, study_id: int) -> list[FrozenTrial]:
        """Returns the trials of a study as they were last read or written."""
        return list(self._studies[study_id].trials.values()) if study_id in self._studies else []

    def cached_trial(self, trial_id: int) -> FrozenTrial:
        """Returns a trial that is in the cache."""
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        return self._studies[study_id].trials[number]

    def replace_cached(self, trial_id: int, trial: FrozenTrial) -> None:
        """Puts a trial in the place of what the cache has of it."""
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        self._studies[study_id].trials[number] = trial

    def end_trial_at(self, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime) -> None:
        """Ends a trial at a time that is given."""
        with self.changing(trial_id) as (session, trial):
            for objective, value in enumerate(values or ()):
                self.backend._set_trial_value_without_commit(session, trial, objective, value)
            trial.state, trial.datetime_complete = state, ended

    @abc.abstractmethod
    def read_marks(self, study_id: int, trial_ids: Sequence[int] | None) -> dict[int, int]:
        """Returns a mark of each of these trials that waits, by id: another one once it has changed. None: of all trials."""

    def forget_mark(self, trial_id: int) -> None:
        """Has a trial that waits be read again, whether or not its mark tells that it has changed."""
        self._marks.pop(trial_id, None)

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        """Takes trials in; one in the place of another, or that had ended and runs, is no trial of this study as it was."""
        cached = self._studies[study_id].trials
        for trial in trials:
            if not isinstance(trial.number, int):  # SQLite takes any text for one, and it becomes part of paths
                raise StorageInternalError("a trial's number is none")
            if (before := cached.get(trial.number)) is None:
                continue
            if before._trial_id != trial._trial_id or (before.state.is_finished() and not trial.state.is_finished()):
                raise StorageInternalError(f"trial {trial.number} is there twice")
        super()._add_trials_to_cache(study_id, trials)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            newest = self._newest.get(study_id, -1)
            # A trial of our own that is new is read this once: after that, only we change it.
            unknown = study.unfinished_trial_ids - self.own
            waited = [trial_id for trial_id in unknown if self.cached_trial(trial_id).state is TrialState.WAITING]
            # Before the trials are read: what changes in between has another mark at the next look.
            marks = self.read_marks(study_id, None if newest < 0 else waited)
            same = {trial_id for trial_id, mark in marks.items() if self._marks.get(trial_id) == mark}
            trials = self.backend._get_trials(study_id, None, unknown - same, newest)
            self._add_trials_to_cache(study_id, trials)
            for trial in trials:
                change = study.unfinished_trial_ids.discard if trial.state.is_finished() else study.unfinished_trial_ids.add
                change(trial._trial_id)
                self.forget_mark(trial._trial_id)
                if trial.state is TrialState.WAITING and trial._trial_id in marks:
                    self._marks[trial._trial_id] = marks[trial._trial_id]
            self._newest[study_id] = max([newest, *(trial._trial_id for trial in trials)])


class OpenJournal(JournalStorage):
    """Optuna's journal, in the reach of ours."""

    def known_trials(self, study_id: int) -> list[FrozenTrial]:
        """Returns the trials of a study as they were last read or written, also of one that was deleted since."""
        replayed = self._replay_result
        return [replayed._trials[trial_id] for trial_id in replayed._study_id_to_trial_ids.get(study_id, [])]

    def write_end(self, record: dict[str, Any]) -> None:
        """Writes the record of a trial's end, and reads it."""
        with self._thread_lock:
            self._write_log(JournalOperation.SET_TRIAL_STATE_VALUES, record)
            self._sync_with_backend()
