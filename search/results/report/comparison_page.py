"""Shows a comparison: the table, in a terminal and on a page (``comparison.html``), and the curves."""

from collections.abc import Callable, Sequence
from itertools import cycle

import plotly.graph_objects as go
from rich.console import Console
from rich.text import Text

from search.results.report.comparison import Comparison, Run, Side, value_at
from search.results.report.figures import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILLION, short, style, white
from search.results.report.html import inert, page, time_unit
from search.results.report.outliers import sensible_range
from search.results.statistics import mean_interval, show_among
from search.results.tables import FoldedTable, print_parts
from search.text import clock, plain

_COLOURS = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY, GREY)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # the next one for each side, as with colours

_Curve = tuple[Sequence[tuple[float, float]], float]
"""The best value so far, and where it ends."""


@white()
def render(comparison: Comparison) -> str:
    """Returns the comparison as an HTML page that needs no network."""
    runs = [(side.label, run) for side in comparison.sides for run in side.runs]
    unit, length = time_unit(max(run.wall_s for _, run in runs))
    by_trials = _chart(comparison, lambda run: (run.by_trials, run.trials))
    by_time = _chart(comparison, lambda run: ([(x / length, y) for x, y in run.by_seconds], run.wall_s / length))
    header, rows = _table(comparison)
    return page(
        "comparison.html",
        sides=comparison.sides,
        notice=comparison.notice,
        notes=_notes(comparison),
        header=header,
        rows=rows,
        studies=[(label, run.name, run.trials, f"{run.best:.6g}", clock(run.wall_s)) for label, run in runs],
        bands=any(len(side.runs) > 1 for side in comparison.sides),
        by_trials=by_trials.update_xaxes(title="COMPLETE and PRUNED trials"),
        by_time=by_time.update_xaxes(title=f"wall time in {unit}"),
    )


def print_table(comparison: Comparison, console: Console | None = None) -> None:
    """Prints the comparison as a table; to stdout by default."""
    (label, *figures), rows = _table(comparison)
    drawn = FoldedTable()
    drawn.add_names(label)
    drawn.add_figures(*figures)
    for row in rows:
        drawn.add_row(*map(Text, row))
    print_parts([drawn, *_notes(comparison)], console)


def _table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    bests = [side.best.mean for side in comparison.sides]
    name, first, reached = plain(comparison.metric.name), plain(comparison.sides[0].label), show_among(comparison.target, bests)
    header = ["", "studies", f"best\n{name}", f"against\n{first}", f"trials to\n{reached}", f"time to\n{reached}"]
    return header, [_row(side, bests) for side in comparison.sides]


def _row(side: Side, bests: Sequence[float]) -> list[str]:
    gain = "" if side.gain is None else side.gain.signed()
    reached = [f"{side.trials_to_target:g}", clock(side.seconds_to_target)]
    return [plain(side.label), str(len(side.runs)), side.best.among(bests), gain, *reached]


def _notes(comparison: Comparison) -> list[str]:
    way = "More" if comparison.metric.maximize else "Less"
    notes = [f"{way} is better; {comparison.target:.6g} is the best value that every study reached."]
    if any(len(side.runs) > 1 for side in comparison.sides):
        notes.append("Means over studies with 95% t intervals; times and trials are medians.")
    if comparison.differing:
        names = plain(", ".join(comparison.differing))
        notes.append(f"Careful: the studies do not agree on {names}, so that their values may not be comparable.")
    return notes


def _chart(comparison: Comparison, curve_of: Callable[[Run], _Curve]) -> go.Figure:
    figure, said = go.Figure(), []
    for side, colour, dash in zip(comparison.sides, cycle(_COLOURS), cycle(_DASHES), strict=False):
        x, columns = _merged([curve_of(run) for run in side.runs])
        if len(side.runs) > 1:
            shared = {"legendgroup": side.label, "showlegend": False, "hoverinfo": "skip", "mode": "lines"}
            pale = "rgba({}, {}, {}, 0.18)".format(*bytes.fromhex(colour.removeprefix("#")))
            steps = {"line": {"width": 0, "shape": "hv", "color": colour}, **shared}
            figure.add_scatter(x=x, y=[min(column) for column in columns], **steps)
            figure.add_scatter(x=x, y=[max(column) for column in columns], fill="tonexty", fillcolor=pale, **steps)
        line = {"color": colour, "width": 2.5, "shape": "hv", "dash": dash}
        means = [mean_interval(column).mean for column in columns]
        ends = [f"{means[at]:.4g} at {x[at]:.4g}" for at in (0, -1) if x]
        said.append(f"{short(side.label)} {', '.join(ends)}")
        figure.add_scatter(x=x, y=means, mode="lines", name=inert(side.label), legendgroup=side.label, line=line)
    figure.update_yaxes(title=f"best so far<br>{inert(comparison.metric.name)}", range=_limits(comparison))
    figure.update_xaxes(rangemode="tozero")
    return style(figure, 440, f"Best {short(comparison.metric.name)} so far: {'; '.join(said)}.", showlegend=True)


def _limits(comparison: Comparison) -> tuple[float, float] | None:
    """Returns a range for the values that leaves out where a curve begins with an outlier; None where none does."""
    runs = [run for side in comparison.sides for run in side.runs]
    values = [value for run in runs for value in run.values]
    limits = sensible_range(values, comparison.metric.maximize, [run.best for run in runs])
    drawn = [value for run in runs for _, value in run.by_trials]
    return limits if limits and not all(limits[0] <= value <= limits[1] for value in drawn) else None


def _merged(group: Sequence[_Curve]) -> tuple[list[float], list[list[float]]]:
    """Returns where any of the curves has a step, and their values there, from where all have begun to where one ends."""
    end = min(end for _, end in group)
    xs = sorted({x for curve, _ in group for x, _ in curve if x <= end} | {end})
    columns = [(x, [value_at(curve, x) for curve, _ in group]) for x in xs]
    known = [(x, [value for value in column if value is not None]) for x, column in columns]
    whole = [(x, column) for x, column in known if len(column) == len(group)]
    return [x for x, _ in whole], [column for _, column in whole]
