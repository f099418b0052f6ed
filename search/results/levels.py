"""What a study found at each level of one parameter, as bars in a terminal."""

import json
import math
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from search.errors import StudyError
from search.records.attributes import is_result
from search.results.ranking import Metric, metrics_of
from search.results.statistics import show_among
from search.results.tables import FoldedTable, print_parts
from search.text import plain, show_value, show_values, suggest

_MOST_LEVELS = 8
_SHRINK = 1024.0  # the largest numbers have no sum, and no length in characters
_BAR = 24  # characters at most; fewer where the names of the levels leave no room
_SHORTEST_BAR = 8


@dataclass(frozen=True)
class Level:
    """The trials that share a value of a parameter, or whose values lie in one range.

    The name is that value or range as a person reads it; the values are of those trials that are results.
    """

    name: str
    values: tuple[float, ...]
    pruned: int


@dataclass(frozen=True)
class _Bar:
    """A bar over a share of its column; of ``#`` where the output's encoding may have no blocks."""

    share: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        hashes = Text("#" * round(self.share * options.max_width), "green")
        yield hashes if options.ascii_only else Bar(1.0, 0.0, self.share, color="green")


def levels(trials: Sequence[FrozenTrial], parameter: str, metric: Metric) -> list[Level]:
    """Divides trials by a parameter: by its values, or into quarters of the trials where it has more than eight numbers.

    The trials may be in any state; those without the parameter are left out, and every level has a trial. Numbers
    are in order, anything else is as it first came.
    """
    chosen = [trial for trial in trials if parameter in trial.params]
    values = list({_key(value): value for value in (trial.params[parameter] for trial in chosen)}.values())
    numbers = all(isinstance(value, int | float) and not math.isnan(value) for value in values)
    if numbers and len(values) > _MOST_LEVELS and all(map(math.isfinite, values)):
        cuts = quantiles([trial.params[parameter] for trial in chosen], n=4, method="inclusive")
        edges = [min(values), *cuts, max(values)]
        names = [f"{show_value(low)} to {show_value(high)}" for low, high in pairwise(edges)]
        place = {_key(value): bisect_right(cuts, value) for value in values}
    else:
        ordered = sorted(values) if numbers else values
        names = show_values(ordered)
        place = {_key(value): index for index, value in enumerate(ordered)}
    members: list[list[FrozenTrial]] = [[] for _ in names]
    for trial in chosen:
        members[place[_key(trial.params[parameter])]].append(trial)
    return [_level(name, group, metric) for name, group in zip(names, members, strict=True) if group]


def _key(value: Any) -> Hashable:
    """What tells a value from others: a choice may be a list, True is not 1, and NaN is itself."""
    if isinstance(value, int | float) and value == value:
        return isinstance(value, bool), value
    return json.dumps(value, sort_keys=True, default=repr)


def _level(name: str, trials: Sequence[FrozenTrial], metric: Metric) -> Level:
    values = tuple(metric.of(trial) for trial in trials if is_result(trial))
    return Level(name, values, sum(trial.state is TrialState.PRUNED for trial in trials))


def print_levels(study: optuna.Study, parameter: str, console: Console | None = None) -> None:
    """Prints the median value at each level of a parameter as a bar from zero, or from the lowest where one is below zero.

    Of several directions the first is shown; to stdout by default.

    Raises:
        StudyError: No trial has such a parameter.
    """
    trials = study.get_trials(deepcopy=False)
    known = sorted({name for trial in trials for name in trial.params})
    if parameter not in known:
        remedy = suggest(parameter, known) if known else "Launch it first."
        raise StudyError(f"--by: must be a parameter of the study's trials; got {plain(parameter)!r}. {remedy}")
    metric = metrics_of(study)[0]
    found = levels(trials, parameter, metric)
    medians = [_median(level.values) for level in found if level.values]
    low, high = min([0.0, *medians]), max([0.0, *medians])
    table = FoldedTable()
    table.add_names(plain(parameter), least=_SHORTEST_BAR)
    table.add_names(f"median {plain(metric.name)}", least=_SHORTEST_BAR, most=_BAR)
    table.add_figures("", "best", "complete", "pruned", justify="right")
    bests = [min(level.values, key=lambda value: metric.sign * value, default=None) for level in found]
    for level, best in zip(found, bests, strict=True):
        middle = _median(level.values) if level.values else None
        size, end = high / _SHRINK - low / _SHRINK, 0.0 if middle is None else middle / _SHRINK - low / _SHRINK
        shown = ("" if value is None else show_among(value, [*medians, *bests]) for value in (middle, best))
        table.add_row(Text(level.name), _Bar(end / (size or 1.0)), *shown, str(len(level.values)), str(level.pruned))
    print_parts([table], console)


def _median(values: Sequence[float]) -> float:
    return median(value / _SHRINK for value in values) * _SHRINK
