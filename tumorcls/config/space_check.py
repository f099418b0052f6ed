"""What of a search space no config could be: every name, bound and choice is held against the checks of `TrainConfig`."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tumorcls.config.train_config import TrainConfig, describe_problem, rule_of, short
from tumorcls.errors import ConfigError

SHARED = ("data", "slices", "split", "score", "noises", "measured_noises")
"""Settings that all trials of a study share: what they are trained and measured on, and how, and what else is an array."""

_OPENED = ("data", "slices", "split")
"""Those by which an objective opens its images, once for all trials."""

Table = Mapping[str, Any]
_Probe = tuple[Any, str]  # a value that a parameter may have, and how a message calls it
_STAND_IN = {"data": ("phantoms:64",)}
_BETWEEN = 0.41421356  # of a range: on no step


def check_space(space: Mapping[str, Table], enqueue: Sequence[Table], settings: Table) -> list[str]:
    """Returns a line for each setting, parameter or enqueued config that cannot be trained; none where all can.

    The space has by parameter `low`, `high` and `step`, or `choices`. The settings are those that all trials share.
    """
    problems = _problems(settings)
    wrong = {str(problem["loc"][0]) for problem in problems if problem["loc"]}
    base = {**_STAND_IN, **{name: value for name, value in settings.items() if name not in wrong}}
    if _problems(base):
        base = dict(_STAND_IN)
    lines = [f"objective.{describe_problem(problem)}" for problem in problems]
    sound: dict[str, list[_Probe]] = {}
    for name, table in space.items():
        found = _name_problem(name) or _range_problems(name, table, base)
        lines += [f"space.{name}: {line}" for line in found]
        if not found:
            sound[name] = _ends(table) + _between(table)
    for name in sound:
        lines += [f"space.{name}: {line}" for line in _never(name, sound, base)]
    for index, entry in enumerate(enqueue):
        if entry.keys() <= sound.keys():
            lines += [f"enqueue[{index}]: {rule_of(problem)}. Change it." for problem in _problems({**base, **entry})]
    return lines


def check_opened(config: TrainConfig, opened: TrainConfig, where: str) -> None:
    """Refuses a trial that would be measured on other images than those that its objective opened.

    Raises:
        ConfigError: Names the setting.
    """
    for name in _OPENED:
        if (got := getattr(config, name)) != (wanted := getattr(opened, name)):
            rule = f"must be that of the objective, {short(wanted)}, for all trials"
            raise ConfigError(f"{where}: {name}: {rule}; got {short(got)}. Make an objective for each.")


def _name_problem(name: str) -> list[str]:
    if name in SHARED:
        return [f"must be the same for all trials; got {name} as a parameter. Write it in [objective]."]
    if name in TrainConfig.model_fields:
        return []
    known = [field for field in TrainConfig.model_fields if field not in SHARED]
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
    return [f"must be a setting of the classifier; got {short(name)}. {remedy}"]


def _range_problems(name: str, table: Table, base: Table) -> list[str]:
    """Returns what is wrong with each end of a range, or each choice; what lies between only where the ends are right."""

    def wrong(probes: Sequence[_Probe], remedy: str) -> list[str]:
        problems = [(_problem_of(name, value, base), shown) for value, shown in probes]
        return [f"{rule_of(problem)}; got {shown}. Change {remedy}." for problem, shown in problems if problem]

    what = "choices" if "choices" in table else "its range"
    return wrong(_ends(table), what) or wrong(_between(table), "its type or its step")


def _ends(table: Table) -> list[_Probe]:
    """Returns the ends of a range, or all choices."""
    if "choices" in table:
        return [(choice, short(choice)) for choice in table["choices"]]
    return [(table[end], f"{end} = {table[end]}") for end in ("low", "high")]


def _between(table: Table) -> list[_Probe]:
    """Returns a value that lies between the ends of a range, where there may be one that is of another kind than these."""
    if "choices" in table or table["low"] == table["high"]:
        return []
    low, high, step = table["low"], table["high"], table.get("step")
    if step is not None:
        return [(low + step, f"step = {step}")]
    if table["type"] != "float":
        return []
    between = low * math.pow(high / low, _BETWEEN) if table.get("log") else low + (high - low) * _BETWEEN
    return [(between, f"every number from {low} to {high}")]


def _never(name: str, sound: Mapping[str, Sequence[_Probe]], base: Table) -> Iterator[str]:
    """Yields the values that go with no value of any other parameter, and why."""
    others = [{other: value} for other in sound if other != name for value, _ in sound[other]]
    for value, shown in sound[name]:
        problems = _problems({**base, name: value})
        if problems and all(_problems({**base, name: value, **other}) for other in others):
            yield f"{rule_of(problems[0])}; got {shown}. Change it, or the setting."


def _problem_of(name: str, value: Any, base: Table) -> ErrorDetails | None:
    return next((problem for problem in _problems({**base, name: value}) if problem["loc"][:1] == (name,)), None)


def _problems(values: Table) -> list[ErrorDetails]:
    try:
        TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        return error.errors(include_url=False)
    return []
