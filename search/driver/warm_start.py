"""The COMPLETE trials of another study as a new study's first knowledge, as far as they fit its space.

They are in the new study's storage from the start, each with a link to where it was run. They guide sampler and pruner, but
they are not this study's own: they count against no budget, and no seed depends on how many there are. A start that was
killed is gone on with by the same launch, and no other launch goes on without the rest of it. Where the values of two studies
cannot be compared, because the configs they were measured with differ in more than what is searched, none of them is the best.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.driver.compatibility import describe, same
from search.errors import StudyError
from search.records.attributes import (
    PREFIX,
    RUN_KEYS,
    WARM_KEY,
    WarmLink,
    config_of,
    file_of,
    warm_link,
)
from search.records.beginnings import WarmSource, warm_source
from search.records.constraints import lacks_memory, set_by_objective
from search.study_file.conditions import is_active
from search.study_file.distributions import check_value
from search.study_file.load import StudySpec
from search.study_file.samplers import learns
from search.text import plain


@dataclass
class WarmStart:
    """What was taken over.

    Attributes:
        source: The study that it came from.
        sampler: The sampler of the new study, as its file calls it.
        taken: How many trials.
        compared: How many of them have values that the new study's can be compared with.
        unfit: Why other trials were not taken, and how many for that reason.
        dropped: Parameters that are not in the new space, and how many of the trials taken had them.
    """

    source: str
    sampler: str
    taken: int = 0
    compared: int = 0
    unfit: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Returns what a person must know of it."""
        lines = [f"Warm start: {counted(self.taken)} of {plain(self.source)} taken over; they count against no budget."]
        if self.taken and not learns(self.sampler):
            lines.append(f"{self.sampler} does not learn from them; tpe and gp would.")
        lines += [f"Left out, {counted(count)}: {plain(rule)}." for rule, count in self.unfit.items()]
        lines += [
            f"Left out of {counted(count)}: {plain(name)}, which is not in [space]." for name, count in self.dropped.items()
        ]
        if rest := self.taken - self.compared:
            lines.append(
                f"Of {rest} the value cannot be compared, since the objective, settings or parameters differ: none is the best."
            )
        return lines


def warm_start(study: optuna.Study, spec: StudySpec, source: optuna.Study) -> WarmStart | None:
    """Adds what fits of `source` to a study that has no trial of its own yet; a start that was killed is gone on with.

    Returns:
        What was taken over; None where that was done at an earlier launch.

    Raises:
        StudyError: The study was begun without or from another one, or the two have other directions.
    """
    begun = warm_source(study)
    _check(study, source, begun)
    if begun is not None and begun.all:
        return None
    study.set_user_attr(WARM_KEY, asdict(WarmSource(source.study_name, all=False)))
    known = {link.trial for trial in study.get_trials(deepcopy=False) if (link := warm_link(trial)) is not None}
    summary = WarmStart(source.study_name, spec.sampler.name)
    for trial in source.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if lacks_memory(trial):
            continue
        if not all(map(math.isfinite, trial.values or [math.nan])):
            summary.unfit["its value is not finite"] += 1
            continue
        taken = _take(trial, source, spec, summary)
        if taken is not None and trial.number not in known:
            study.add_trial(taken)
    study.set_user_attr(WARM_KEY, asdict(WarmSource(source.study_name, all=True)))
    return summary


def check_whole(study: optuna.Study) -> None:
    """Refuses a study whose warm start was killed: what it draws would depend on how far that had come.

    Raises:
        StudyError: The rest is missing.
    """
    begun = warm_source(study)
    if begun is not None and not begun.all:
        raise StudyError(
            f'study "{study.study_name}": its warm start must be whole; got a part, since the launch was killed. '
            f'Add --warm-start again, with study "{begun.study}".'
        )


def _check(study: optuna.Study, source: optuna.Study, begun: WarmSource | None) -> None:
    where = f'study "{study.study_name}"'
    if study.directions != source.directions:
        got = ", ".join(direction.name.lower() for direction in source.directions)
        raise StudyError(f'{where}: a warm start must have its directions; got {got} from "{source.study_name}".')
    if begun is not None and begun.study != source.study_name:
        raise StudyError(
            f'{where}: must learn from one study, "{begun.study}"; got "{source.study_name}". Add --as with another name.'
        )
    if begun is None and (count := len(study.get_trials(deepcopy=False))):
        raise StudyError(f"{where}: must be new for a warm start; got {counted(count)} of its own. Add --as with another name.")


def fit_params(trial: FrozenTrial, source: optuna.Study, spec: StudySpec, *, whole: bool = True) -> tuple[dict[str, Any], str]:
    """Returns the values that a trial of another study has for the parameters of a new one's space.

    Args:
        trial: Of the other study.
        source: That study, whose settings may say what the trial's parameters do not.
        spec: The new study's file.
        whole: It must have one for each parameter.

    Returns:
        The values, and why they do not fit; empty where they do.
    """
    recorded = config_of(trial) or {}
    before = {**recorded, **(file_of(source) or {}).get("settings", {}), **trial.params}
    params: dict[str, Any] = {}
    for name, distribution in spec.space.items():
        if not is_active(name, params, spec.conditions):
            continue
        if name not in before:
            if whole:
                return {}, f"nothing says what {name} was"
            continue
        value = before[name]
        if problem := check_value(name, value, spec.space):
            return {}, f"{name} {problem[0]}"
        params[name] = float(value) if isinstance(distribution, FloatDistribution) else value
    return params, ""


def _take(trial: FrozenTrial, source: optuna.Study, spec: StudySpec, summary: WarmStart) -> FrozenTrial | None:
    """Returns a trial as the new study would have it, or None where it does not fit."""
    params, unfit = fit_params(trial, source, spec)
    if unfit:
        summary.unfit[unfit] += 1
        return None
    file = file_of(source) or {}
    recorded = config_of(trial) or {}
    before = {**file.get("settings", {}), **trial.params}
    summary.dropped.update(name for name in trial.params if name not in spec.space)
    now = {**describe(spec)["settings"], **params}
    unchanged = same({**{key: recorded.get(key) for key in now}, **before}, now)
    link = warm_link(trial)
    comparable = unchanged and file.get("objective") == spec.target and (link is None or link.compared)
    summary.taken += 1
    summary.compared += comparable
    user, system = (
        {key: value for key, value in attrs.items() if key not in (*RUN_KEYS, WARM_KEY)}
        for attrs in (trial.user_attrs, {key: value for key, value in trial.system_attrs.items() if key.startswith(PREFIX)})
    )
    return create_trial(
        params=params,
        distributions={name: spec.space[name] for name in params},
        values=trial.values,
        intermediate_values=trial.intermediate_values if comparable else {},
        system_attrs=system,
        constraints=set_by_objective(trial),
        user_attrs={**user, WARM_KEY: asdict(WarmLink(source.study_name, trial.number, compared=comparable))},
    )


def counted(count: int, noun: str = "trial") -> str:
    """Returns so many of something, as ``1 trial`` or ``2 trials``."""
    return f"{count} {noun}{'s' * (count != 1)}"
