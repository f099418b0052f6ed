"""Draws where in the space the good trials are: parallel coordinates, slices and a contour.

Optuna's own contour has a cell for each pair of values, 50 MB for 2,000 trials of two numbers, where this one has at most 16 by
16 in 0.4 MB; it takes the choices 1 and "1" for one, and a parameter's name for markup.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from plotly.colors import sample_colorscale

from search.results.ranking import Metric
from search.results.report.facts import Facts
from search.results.report.figures import add_lines, add_trials, short, style
from search.results.report.html import inert, stacked
from search.results.report.outliers import cut, sensible_range
from search.text import show_value

_BINS = 16
"""Cells of a contour along an axis with more values than that."""

_SHADES = 6
_TICKS, _CHOICES = 5, 12  # named on an axis at most
_SCALE = "Blues"
_UNUSED = -0.12  # height of a parameter that a trial does not have
_JITTER = 0.012  # keeps lines through the same choice apart
_SHORT = 15  # characters of a name or a choice on an axis of many
_FARTHEST, _HIGHEST = 1e300, 308.0  # what lies beyond is drawn there; the square of its distance would be no number


@dataclass(frozen=True)
class Axis:
    """A parameter or a direction as an axis.

    Attributes:
        log: Whether it is drawn on a logarithmic scale.
        choices: The values of a categorical parameter; empty for a number.
    """

    name: str
    log: bool = False
    choices: tuple[Any, ...] = ()

    @classmethod
    def of(cls, name: str, trials: Sequence[FrozenTrial]) -> "Axis":
        """Returns the axis of a parameter, as the first trial that has it draws it."""
        distribution: BaseDistribution = next(t.distributions[name] for t in trials if name in t.distributions)
        if isinstance(distribution, CategoricalDistribution):
            return cls(name, choices=tuple(distribution.choices))
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        return cls(name, distribution.log)

    def place(self, value: Any) -> float:
        """Returns where a value lies: a choice's index, or a number, its logarithm to base 10 on a logarithmic axis."""
        if self.choices:
            return float(next(at for at, choice in enumerate(self.choices) if _is(choice, value)))
        return math.log10(value) if self.log else float(min(max(value, -_FARTHEST), _FARTHEST))

    def place_of(self, trial: FrozenTrial) -> float:
        """Returns where the value of a trial lies that has the parameter."""
        return self.place(trial.params[self.name])

    def label(self, place: float, show: Callable[[object], str] = stacked) -> str:
        """Returns the value at a place, as text; `show` makes that of a choice."""
        if self.choices:
            return show(self.choices[round(place)])
        return f"{10 ** min(place, _HIGHEST) if self.log else place:.3g}"

    def ticks(self, places: Iterable[float]) -> list[float]:
        """Returns the places to be named, given those of the trials."""
        if self.choices:
            return [float(at) for at in range(0, len(self.choices), -(-len(self.choices) // _CHOICES))]
        distinct = sorted(set(places))
        apart = (distinct[-1] - distinct[0]) / (2 * _TICKS)
        if len(distinct) <= _TICKS and all(high - low >= apart for low, high in pairwise(distinct)):
            return distinct
        return [float(place) for place in np.linspace(distinct[0], distinct[-1], _TICKS)]


def parallel_coordinates(facts: Facts, metric: Metric, order: Sequence[str]) -> go.Figure:
    """Every COMPLETE trial as a line through its parameters and its value; the best ones (`count_best`) in colour."""
    trials = sorted(facts.ranked, key=metric.loss_of, reverse=True)  # the best is drawn last, on top
    axes = [Axis.of(name, trials) for name in order]
    columns = [[axis.place_of(trial) if axis.name in trial.params else None for trial in trials] for axis in axes]
    shown, worst = _inside(metric, trials)
    columns.append([*shown])
    axes.append(Axis(metric.name))
    heights = [_heights(axis, column) for axis, column in zip(axes, columns, strict=True)]
    labels = [f"trial {trial.number}: {metric.of(trial):.6g}" for trial in trials]
    figure = go.Figure()
    best = count_best(facts)
    cuts = [0, *(len(trials) - best + round(best * part / _SHADES) for part in range(_SHADES)), len(trials)]
    colours = ["rgba(160, 168, 178, 0.28)", *_shades()]
    for colour, (low, high) in zip(colours, pairwise(cuts), strict=True):
        lines = [(labels[at], [(x, round(column[at], 4)) for x, column in enumerate(heights)]) for at in range(low, high)]
        width = 1.0 if low == 0 else 2.0
        add_lines(figure, lines, line={"color": colour, "width": width}, hovertemplate="%{text}<extra></extra>")
    labels_of_axes: list[dict[str, object]] = []
    for at, (axis, column) in enumerate(zip(axes, columns, strict=True)):
        figure.add_vline(x=at, line={"color": "#1b1f24", "width": 1})
        labels_of_axes += _scale(at, axis, column, worst if column is columns[-1] else None)
    figure.update_layout(annotations=labels_of_axes)  # one by one, each would have Plotly check all again
    names = [_short(axis.name) for axis in axes]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names}
    figure.update_xaxes(range=[-0.35, len(names) - 0.8], showgrid=False, zeroline=False, **ticks)
    figure.update_yaxes(visible=False, range=[-0.2, 1.08])
    lead = trials[-1]
    params = ", ".join(f"{short(name)} {short(show_value(lead.params[name]))}" for name in order if name in lead.params)
    said = f"{len(trials)} trials; {short(metric.name)} {metric.of(lead):.4g} of the best, trial {lead.number}: {params}."
    return style(figure, 430, said, showlegend=False)


def count_best(facts: Facts) -> int:
    """Returns how many trials are drawn in colour: a tenth of the COMPLETE ones, and three where there are as many."""
    return max(min(len(facts.ranked), 3), math.ceil(len(facts.ranked) / 10))


def slice_along(facts: Facts, metric: Metric, name: str) -> go.Figure:
    """The value against a parameter; stronger is later."""
    trials = sorted((trial for trial in facts.ranked if name in trial.params), key=lambda trial: trial.number)
    axis = Axis.of(name, trials)
    colours = {"color": [trial.number for trial in trials], "colorscale": _shades()}
    marker = {"size": 7, "line": {"color": "#8A929C", "width": 0.5}, **colours}
    figure = go.Figure()
    add_trials(figure, trials, axis.place_of, metric.of, "", marker)
    figure.update_xaxes(title=inert(name), **_ticks(axis, [*map(axis.place_of, trials)]))
    limits = sensible_range([metric.of(trial) for trial in facts.ranked], metric.maximize)
    figure.update_yaxes(title=stacked(metric.name), range=limits)
    said = f"{short(metric.name)} against {short(name)}, {len(trials)} trials: {_best_and_worst(metric, trials, [name])}."
    return style(figure, 380, said, showlegend=False)


def contour(facts: Facts, metric: Metric, names: tuple[str, str]) -> go.Figure:
    """The mean value over two parameters, in cells that are bridged where no trial is, with the trials on top.

    An outlier counts as the worst value that is shown, or its cell would spread over all that are bridged.
    """
    trials = [trial for trial in facts.ranked if all(name in trial.params for name in names)]
    across, up = (Axis.of(name, trials) for name in names)
    x, y = (np.array([*map(axis.place_of, trials)]) for axis in (across, up))
    (columns, at_x), (rows, at_y) = _cells(x), _cells(y)
    sums, counts = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    np.add.at(sums, (at_y, at_x), _inside(metric, trials)[0])
    np.add.at(counts, (at_y, at_x), 1)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    scale = {
        "colorscale": _SCALE,
        "reversescale": not metric.maximize,
        "colorbar": {"title": {"text": inert(metric.name), "side": "right"}},
    }
    surface = {"x": columns, "y": rows, "z": means, "connectgaps": True, "hoverinfo": "skip", **scale}
    figure = go.Figure()
    if across.choices or up.choices:
        figure.add_heatmap(**surface)
    else:
        figure.add_contour(contours={"coloring": "heatmap"}, line={"width": 0.4, "color": "#fff"}, **surface)
    marker = {"color": "#fff", "size": 5, "opacity": 0.8, "line": {"color": "#333", "width": 0.8}}
    add_trials(figure, trials, across.place_of, up.place_of, "", marker)
    for update, axis, places in ((figure.update_xaxes, across, x), (figure.update_yaxes, up, y)):
        update(title=inert(axis.name), **_ticks(axis, places.tolist()))
    said = f"{short(metric.name)} over {' and '.join(map(short, names))}: {_best_and_worst(metric, trials, names)}."
    return style(figure, 460, said, showlegend=False)


def _best_and_worst(metric: Metric, trials: Sequence[FrozenTrial], names: Sequence[str]) -> str:
    best, worst = (
        f"{metric.of(trial):.4g} at {' and '.join(short(show_value(trial.params[name])) for name in names)}"
        for trial in (min(trials, key=metric.loss_of), max(trials, key=metric.loss_of))
    )
    return f"the best {best}, the worst {worst}"


def _ticks(axis: Axis, places: Sequence[float]) -> dict[str, Any]:
    ticks = axis.ticks(places)
    limits = {"range": [-0.5, len(axis.choices) - 0.5]} if axis.choices else {}
    return {"tickvals": ticks, "ticktext": [axis.label(tick) for tick in ticks], "zeroline": False, **limits}


def _is(choice: Any, value: Any) -> bool:
    """Whether a value is this choice: 1, 1.0 and True are three, and NaN is itself."""
    return bool(type(choice) is type(value) and choice == value) or bool(choice != choice and value != value)


def can_contour(facts: Facts, names: Sequence[str]) -> bool:
    """Returns whether two parameters span an area: some trials have both, and each takes at least two values there."""
    trials = [trial for trial in facts.ranked if all(name in trial.params for name in names)]
    if len(names) < 2 or not trials:
        return False
    axes = (Axis.of(name, trials) for name in names)
    return all(len({axis.place_of(trial) for trial in trials}) > 1 for axis in axes)


def _inside(metric: Metric, trials: Sequence[FrozenTrial]) -> tuple[list[float], float | None]:
    """Returns where the values lie, outliers cut; see `cut`."""
    return cut([Axis(metric.name).place(metric.of(trial)) for trial in trials], metric.maximize)


def _heights(axis: Axis, places: Sequence[float | None]) -> list[float]:
    """Where lines cross the axis, in [0, 1]; `_UNUSED` where a trial has no place on it."""
    known = [place for place in places if place is not None]
    low, high = _span(axis, known)
    discrete = len(set(known)) <= _BINS < len(known)
    heights = []
    for at, place in enumerate(places):
        jitter = _JITTER * math.sin(at * 2.4) if discrete else 0.0
        heights.append(_UNUSED if place is None else 0.5 if high == low else (place - low) / (high - low) + jitter)
    return heights


def _short(written: object) -> str:
    return inert(written, _SHORT)


def _span(axis: Axis, places: Sequence[float]) -> tuple[float, float]:
    if axis.choices:
        return 0.0, float(len(axis.choices) - 1)
    return min(places), max(places)


def _scale(at: int, axis: Axis, places: Sequence[float | None], worst: float | None) -> Iterator[dict[str, object]]:
    known = [place for place in places if place is not None]
    low, high = _span(axis, known)
    ticks = axis.ticks(known)
    labels = [f"{axis.label(tick, _short)}{' or worse' if tick == worst else ''}" for tick in ticks]
    marks = zip([(tick - low) / (high - low) if high > low else 0.5 for tick in ticks], labels, strict=True)
    look = {"showarrow": False, "xanchor": "right", "xshift": -5, "font": {"size": 11, "color": "#4a525c"}}
    for height, label in [*marks, *([(_UNUSED, "not used")] if None in places else [])]:
        yield {"text": label, "x": at, "y": height, "bgcolor": "rgba(255, 255, 255, 0.75)", "borderpad": 1, **look}


def _shades() -> list[str]:
    """Returns the scale without its faintest part, which no ground would show, light or dark."""
    return list(sample_colorscale(_SCALE, [0.35 + 0.65 * part / (_SHADES - 1) for part in range(_SHADES)]))


def _cells(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Returns the centres of the cells along an axis, and the cell of each place."""
    distinct = np.unique(places)
    centres = distinct if len(distinct) <= _BINS else np.linspace(distinct[0], distinct[-1], _BINS)
    return centres, np.abs(places[:, None] - centres).argmin(axis=1)
