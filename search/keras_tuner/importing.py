"""A KerasTuner project -> an Optuna study: each trial as KerasTuner has it, and none twice."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.errors import StudyError
from search.keras_tuner.objective import Objective, values_of
from search.keras_tuner.project import Project, TrialFile
from search.keras_tuner.space import space_of
from search.keras_tuner.times import Times, times_of
from search.optuna_internals import storage_of, trial_id_of
from search.records.attributes import (
    FAILURE_KEY,
    IMPORTED_KEY,
    METRICS_KEY,
    RETRY_KEY,
    STATUS_KEY,
    UNKNOWN_TIMES_KEY,
    imported_of,
    without_records,
)
from search.records.saving import failure_attrs, split
from search.storage.open import end_trial
from search.text import one_line, plain

_STATES = {
    "COMPLETED": TrialState.COMPLETE,
    "STOPPED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
    "INVALID": TrialState.FAIL,
    "RUNNING": TrialState.RUNNING,
    "IDLE": TrialState.RUNNING,
}


@dataclass(frozen=True)
class Imported:
    """How many trials, by state, the study did not have, how many have ended since an import, and how many it had already."""

    added: Counter[TrialState]
    finished: int
    known: int


def import_project(project: Project, study: optuna.Study, objectives: Sequence[Objective]) -> Imported:
    """Adds a project's trials to a study that has the directions of `objectives`.

    Parameters are those that were active. What a trial has beside the space, such as Hyperband's ``tuner/epochs``, are user
    attributes: no one searches over them.

    No other process may drive the study meanwhile.

    Raises:
        StudyError: The study holds trials of another project, and nothing was added; or its space is another one.
    """
    space, times = _space(project), times_of(project)
    trials = [(file, _frozen(file, space, objectives, times[file.trial_id])) for file in project.trials]
    before = {name: trial for trial in study.get_trials() if (name := imported_of(trial)) is not None}
    if foreign := next(_foreign(project, study, before, trials), None):
        raise _refusal(project, study, f"must hold trials of this project; got {foreign}")
    added: Counter[TrialState] = Counter()
    finished = known = 0
    for file, trial in trials:
        earlier = before.get(file.trial_id)
        if earlier is not None and earlier.state is TrialState.RUNNING and trial.state is not TrialState.RUNNING:
            _finish(project, study, earlier, trial)
            finished += 1
        elif earlier is not None and not _was_retried(earlier, file):
            known += 1
        else:
            if earlier is not None:
                trial.set_user_attr(RETRY_KEY, earlier.number)
            with _one_space(project, study):
                study.add_trial(trial)
            added[trial.state] += 1
    return Imported(added, finished, known)


def _space(project: Project) -> dict[str, BaseDistribution]:
    declared = [*project.oracle.hyperparameters.space]
    seen: dict[str, list[Any]] = {}
    for trial in project.trials:
        declared += trial.hyperparameters.space
        for name, value in _params(trial).items():
            seen.setdefault(name, []).append(value)
    return space_of(declared, seen)


def _params(trial: TrialFile) -> dict[str, Any]:
    """The values of the active hyperparameters."""
    values = trial.hyperparameters.values
    active = [parameter.name for parameter in trial.hyperparameters.space if parameter.active(values)]
    return {name: values[name] for name in dict.fromkeys(active) if values.get(name) is not None}


def _frozen(
    file: TrialFile, space: Mapping[str, BaseDistribution], objectives: Sequence[Objective], times: Times
) -> FrozenTrial:
    params = _params(file)
    state, values = _STATES[file.status], None
    attrs = _user_attrs(file, times)
    if state is TrialState.COMPLETE:
        values = values_of(file, objectives)
        if values is None:
            state = TrialState.FAIL
            attrs[FAILURE_KEY] = f"no value of {', '.join(objective.name for objective in objectives)}"
    user, system = split(attrs)
    return FrozenTrial(
        number=-1,  # the storage counts
        trial_id=-1,
        state=state,
        value=None,
        values=values,
        datetime_start=times.start,
        datetime_complete=None if state is TrialState.RUNNING else times.end,
        params=params,
        distributions={name: space[name] for name in params},
        user_attrs=user,
        system_attrs=system,
        intermediate_values=_steps(file, objectives),
    )


def _steps(file: TrialFile, objectives: Sequence[Objective]) -> dict[int, float]:
    """The history of the objective; Optuna has none with several."""
    metric = file.metrics.metrics.get(objectives[0].name) if len(objectives) == 1 else None
    return {observation.step: observation.mean for observation in metric.observations} if metric is not None else {}


def _user_attrs(file: TrialFile, times: Times) -> dict[str, Any]:
    declared = {parameter.name for parameter in file.hyperparameters.space}
    beside = {name: value for name, value in file.hyperparameters.values.items() if name not in declared}
    attrs: dict[str, Any] = {**without_records(beside), IMPORTED_KEY: file.trial_id, STATUS_KEY: file.status}
    metrics = {name: metric.at(file.best_step) for name, metric in file.metrics.metrics.items()}
    # JSON has no NaN, and neither has the dashboard.
    attrs |= {METRICS_KEY: {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}}
    if times.unknown:
        attrs[UNKNOWN_TIMES_KEY] = list(times.unknown)
    if file.message and (lines := file.message.strip().splitlines()):
        attrs |= failure_attrs(plain(one_line(lines[-1]), 1_000), file.message)
    return attrs


def _was_retried(earlier: FrozenTrial, file: TrialFile) -> bool:
    """KerasTuner tries an INVALID trial again under the same id; one that ran at an import may be given up here since."""
    return earlier.state is TrialState.FAIL and earlier.user_attrs.get(STATUS_KEY) != file.status


def _foreign(
    project: Project, study: optuna.Study, before: Mapping[str, FrozenTrial], trials: Sequence[tuple[TrialFile, FrozenTrial]]
) -> Iterator[str]:
    """Yields what a study holds that is not of a project; trials that were launched since an import may be there too."""
    ids = {*(file.trial_id for file, _ in trials), *project.unread}
    for name, earlier in before.items():
        if name not in ids:
            yield f"trial_{name} of another one as its trial {earlier.number}"
    for file, trial in trials:
        known = before.get(file.trial_id)
        if known is not None and not _is_same(known, file, trial):
            yield f"another trial_{file.trial_id} as its trial {known.number}"
    count = len(study.get_trials(deepcopy=False))
    if count and not before:
        yield f"{count} trial{'s' * (count != 1)} of which none was imported"


def _is_same(earlier: FrozenTrial, file: TrialFile, trial: FrozenTrial) -> bool:
    """Whether a trial is what was imported under its id; one that has gone on since has all parameters that it had."""
    if earlier.state is TrialState.RUNNING or _was_retried(earlier, file):
        return {**trial.params, **earlier.params} == trial.params
    return earlier.params == trial.params and (earlier.values or []) == (trial.values or [])


@contextmanager
def _one_space(project: Project, study: optuna.Study) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # another distribution under the same name
        raise _refusal(project, study, f"must have the same space; got: {one_line(error).rstrip('.')}") from None


def _refusal(project: Project, study: optuna.Study, why: str) -> StudyError:
    return StudyError(f'{project.folder}: study "{study.study_name}" {why}. Add --study with another name.')


def _finish(project: Project, study: optuna.Study, earlier: FrozenTrial, now: FrozenTrial) -> None:
    """Tells the end of a trial that was running when it was imported."""
    storage, trial_id = storage_of(study), trial_id_of(earlier)
    with _one_space(project, study):
        for name, value in now.params.items():
            distribution = now.distributions[name]
            storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)
    for key, attr in now.user_attrs.items():
        storage.set_trial_user_attr(trial_id, key, attr)
    for key, attr in now.system_attrs.items():
        storage.set_trial_system_attr(trial_id, key, attr)
    for step, value in now.intermediate_values.items():
        storage.set_trial_intermediate_value(trial_id, step, value)
    assert now.datetime_complete is not None
    end_trial(study, trial_id, now.state, now.values, now.datetime_complete)
