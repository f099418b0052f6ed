"""What a sampler gets to see of trials that are paused and promoted: their values at one rung, which can be compared."""

import copy
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import RAN_KEY
from search.records.rungs import Rung, paused_seconds, rungs_of
from search.study_file.fidelity import Fidelity


def seen_by_sampler(trials: Sequence[FrozenTrial], fidelity: Fidelity, enough: int) -> list[FrozenTrial]:
    """Returns the trials as a sampler is to learn from them.

    Of the trials that have reached it, the values at the highest rung that enough have reached count as results; the others
    count as pruned at their last rung, which TPE takes for worse than any result, and most samplers leave out. The fidelity is
    no parameter: it was no sampler's choice.

    Args:
        trials: All trials of the study.
        fidelity: Of the study.
        enough: So many trials are enough to learn from.
    """
    climbed = [rungs_of(trial) for trial in trials]
    counts = {rung: sum(rung in rungs for rungs in climbed) for rung in fidelity.rungs}
    level = max((rung for rung, count in counts.items() if count >= max(enough, 1)), default=fidelity.rungs[0])
    return [_seen(trial, rungs, fidelity.name, level) for trial, rungs in zip(trials, climbed, strict=True)]


def _seen(trial: FrozenTrial, rungs: dict[int, Rung], name: str, level: int) -> FrozenTrial:
    if not rungs and name not in trial.params:
        return trial
    seen = copy.copy(trial)
    seen.params = {key: value for key, value in trial.params.items() if key != name}
    seen.distributions = {key: value for key, value in trial.distributions.items() if key != name}
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
