"""What a sampler gets to see of trials: of those that are paused and promoted, values at one rung, which can be compared."""

import copy
from collections import Counter
from collections.abc import Container, Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from search.driver.per_trial import PerTrial
from search.records.attributes import RAN_KEY, constraints_of
from search.records.constraints import MEMORY_CONSTRAINT, key_of
from search.records.optuna_keys import CONSTRAINTS
from search.records.rungs import Rung, paused_seconds, rungs_of
from search.study_file.fidelity import Fidelity


class SamplerView:
    """The trials of a study with a fidelity, as a sampler is to learn from them.

    Of the trials that have reached it, the values at the highest rung that enough have reached count as results; the others
    count as pruned at their last rung, which TPE takes for worse than any result, and most samplers leave out. The fidelity is
    no parameter: it was no sampler's choice.

    Args:
        fidelity: Of the study.
        enough: So many trials on a rung are enough to learn from there; the lowest rung is where there are not.
    """

    def __init__(self, fidelity: Fidelity, enough: float) -> None:
        self._fidelity, self._enough = fidelity, enough
        self._rungs = PerTrial(rungs_of)
        self._level = fidelity.rungs[0]
        self._seen = PerTrial(self._seen_at_level)

    def of(self, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        """Returns all trials of the study, as they are to be seen."""
        counts = Counter(rung for trial in trials for rung in self._rungs(trial))
        found = (rung for rung in self._fidelity.rungs if counts[rung] >= max(self._enough, 1))
        if (level := max(found, default=self._fidelity.rungs[0])) != self._level:
            self._level, self._seen = level, PerTrial(self._seen_at_level)
        return with_same_constraints([self._seen(trial) for trial in trials])

    def _seen_at_level(self, trial: FrozenTrial) -> FrozenTrial:
        return _seen(trial, self._rungs(trial), self._fidelity.name, self._level)


def with_same_constraints(trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
    """Returns the trials with the same constraints in each result, in one order, which GPSampler wants.

    A trial has kept that of memory where it does not say, and one of the objective's that it has not set just so.
    """
    found = {tuple(constraints_of(trial)) for trial in trials if trial.state is TrialState.COMPLETE}
    if len(found) < 2:
        return trials
    names = sorted(set().union(*found))
    return [_constrained(trial, names) if trial.state is TrialState.COMPLETE else trial for trial in trials]


def without(trials: Sequence[FrozenTrial], names: Container[str]) -> list[FrozenTrial]:
    """Returns the trials as they would be if these parameters were none."""
    return [_without(trial, names) if any(name in names for name in trial.params) else trial for trial in trials]


def _without(trial: FrozenTrial, names: Container[str]) -> FrozenTrial:
    rest = copy.copy(trial)
    rest.params = {name: value for name, value in trial.params.items() if name not in names}
    rest.distributions = {name: each for name, each in trial.distributions.items() if name not in names}
    return rest


def _constrained(trial: FrozenTrial, names: Iterable[str]) -> FrozenTrial:
    """Returns a trial that has constraints of these names, and of no others, in their order."""
    unset = {name: -1.0 if name == MEMORY_CONSTRAINT else 0.0 for name in names}
    constraints = {**unset, **constraints_of(trial)}
    constrained = copy.copy(trial)
    others = {key: value for key, value in trial.system_attrs.items() if key.partition(":")[0] != CONSTRAINTS}
    constrained.system_attrs = {**others, **{key_of(name): value for name, value in constraints.items()}}
    return constrained


def _seen(trial: FrozenTrial, rungs: dict[int, Rung], name: str, level: int) -> FrozenTrial:
    if not rungs and name not in trial.params:
        return trial
    seen = _without(trial, (name,))
    if not rungs or trial.state is TrialState.FAIL:
        return seen
    reached, rung = list(rungs.items())[-1]
    steps = [step for step in sorted(trial.intermediate_values) if step < reached]
    seen.intermediate_values = {**{step: trial.intermediate_values[step] for step in steps[:-1]}, reached: rung.value}
    seen.user_attrs = {**trial.user_attrs, RAN_KEY: paused_seconds(trial)}
    seen.datetime_complete = trial.datetime_complete or trial.datetime_start
    if level in rungs:
        seen.state, seen.values = TrialState.COMPLETE, [rungs[level].value]
    else:
        seen.state, seen.values = TrialState.PRUNED, None
    return seen
