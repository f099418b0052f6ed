"""How trials ended: what a process told its storage, what it still knows of them, and what the storage says of them anew."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.optuna_internals import models, trial_id_of
from search.records.attributes import TOKEN_KEY
from search.storage.together import Changes

End = tuple[TrialState, tuple[float, ...]]
"""The state of a trial, and its values: empty where it has none."""


@dataclass(frozen=True)
class Stored:
    """What a storage holds of a study: its token, and by number the state and the values of each trial."""

    token: Any
    ends: dict[int, End]


@dataclass(frozen=True)
class Known:
    """What a process knows of a study without asking the storage.

    Attributes:
        trials: As they were last read or written, or were to be written.
        told_ends: How this process has ended trials, by id, whether or not that arrived; and paused one, where it did not.
        user_attrs: The study's, as they were last read or written.
    """

    trials: list[FrozenTrial]
    told_ends: dict[int, End] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)

    def ends(self) -> dict[int, End]:
        """Returns the state and the values of each trial, by number."""
        return {trial.number: self.told_ends.get(trial_id_of(trial), end_of(trial)) for trial in self.trials}


class TellsEnds(BaseStorage):
    """Makes a storage remember which ends it was told, and what studies say of themselves; in front of one of Optuna's."""

    def __init__(self, backend: Any) -> None:
        self.told_ends: dict[int, End] = {}
        self.user_attrs: dict[int, dict[str, Any]] = {}
        self._unwritten: dict[int, Changes] = {}  # by trial
        super().__init__(backend)  # type: ignore[call-arg]

    def known(self, study_id: int) -> Known:
        """Returns what this process knows of a study, without asking the storage."""
        known: list[FrozenTrial] = super().known_trials(study_id)  # type: ignore[misc]
        trials = [self._unwritten[at].of(trial) if (at := trial_id_of(trial)) in self._unwritten else trial for trial in known]
        return Known(trials, self.told_ends, self.user_attrs.get(study_id, {}))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Returns a study's user attributes."""
        attrs: dict[str, Any] = super().get_study_user_attrs(study_id)  # type: ignore[safe-super]
        self.user_attrs.setdefault(study_id, {}).update(attrs)
        return attrs

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Writes a user attribute of a study."""
        self.user_attrs.setdefault(study_id, {})[key] = value
        super().set_study_user_attr(study_id, key, value)  # type: ignore[safe-super]

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Ends a trial, or begins one that was waiting."""
        with self.telling(trial_id, state, values):
            return super().set_trial_state_values(trial_id, state, values)  # type: ignore[safe-super]

    @contextlib.contextmanager
    def telling(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None, changes: Changes | None = None
    ) -> Iterator[None]:
        """Remembers the end that is told in the block, unless another driver has ended the trial before.

        Where `changes` are given, which the block writes before, it remembers these too, and a pause, until all is written.
        """
        if state.is_finished() or changes is not None:
            self.told_ends[trial_id] = (state, tuple(values or ()))
        if changes is not None:
            self._unwritten[trial_id] = changes
        try:
            yield
        except UpdateFinishedTrialError:  # another driver has ended it, in its own way
            self.told_ends.pop(trial_id, None)
            self._unwritten.pop(trial_id, None)
            raise
        if changes is not None:
            del self._unwritten[trial_id]
            if not state.is_finished():
                del self.told_ends[trial_id]


def end_of(trial: FrozenTrial) -> End:
    """Returns how a trial stands."""
    return trial.state, tuple(trial.values or ())


def read_stored(connection: sqlalchemy.Connection, name: str) -> Stored | None:
    """Reads what a database holds of a study; None where it is not there."""
    study_id = connection.scalar(sqlalchemy.select(models.StudyModel.study_id).where(models.StudyModel.study_name == name))
    if study_id is None:
        return None
    attribute = models.StudySystemAttributeModel
    token = connection.scalar(
        sqlalchemy.select(attribute.value_json).where(attribute.study_id == study_id, attribute.key == TOKEN_KEY)
    )
    trial, value = models.TrialModel, models.TrialValueModel
    rows = (
        sqlalchemy.select(trial.number, trial.state, value.value, value.value_type)
        .outerjoin(value, value.trial_id == trial.trial_id)
        .where(trial.study_id == study_id)
        .order_by(trial.number, value.objective)
    )
    ends: dict[int, End] = {}
    for number, state, stored, kind in connection.execute(rows):
        _, values = ends.get(number, (state, ()))
        ends[number] = (state, values if kind is None else (*values, value.stored_repr_to_value(stored, kind)))
    return Stored(None if token is None else json.loads(token), ends)
