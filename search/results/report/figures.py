"""Draws how the search went: best so far, importances, intermediate values, workers, Pareto front, as Plotly figures."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from optuna.trial import FrozenTrial, TrialState

from search.records.states import state_name
from search.results.ranking import Metric, improvements
from search.results.report.facts import Facts
from search.results.report.html import inert, stacked
from search.results.report.importances import Importances
from search.results.report.outliers import sensible_range
from search.text import LONGEST, clock, plain, show_value

BLUE, VERMILLION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#F0E442", "#8A929C"
"""With the line above Okabe & Ito 2008: told apart by colour-blind readers."""

CLEAR = "rgba(0, 0, 0, 0)"
"""The ground of a chart is its page's, which turns a chart's colours round where the reader wants it dark."""

STATE_COLOURS = {
    "complete": BLUE,
    "pruned": ORANGE,
    "fail": VERMILLION,
    "interrupted": PINK,
    "lost": YELLOW,
    "paused": SKY,
    "running": GREY,
}
_STATE_SHAPES = {"pruned": "/", "fail": "x", "interrupted": "\\", "lost": ".", "paused": "-", "running": "|"}
"""How bars of a state are hatched: a colour alone says nothing to whoever does not see it."""

_Of = Callable[[FrozenTrial], float]
_NUMBER = attrgetter("number")
_STAR = {"color": PINK, "symbol": "star", "size": 15, "line": {"color": "#000", "width": 1}}
_LINES = 25  # parameters that are named under the pointer
_SAID = 5  # figures in the sentence that stands for a chart
_CURVES = 300
"""So many curves of a kind are drawn at most, the latest ones; more cannot be told apart."""


@contextlib.contextmanager
def white() -> Iterator[None]:
    """Has figures begin in Plotly's white look, which Plotly then checks once, and not for each figure in 15 ms."""
    before, pio.templates.default = pio.templates.default, "plotly_white"
    try:
        yield
    finally:
        pio.templates.default = before


def style(figure: go.Figure, height: int, said: str, **layout: object) -> go.Figure:
    """Returns the figure, which began `white`, in the look of the page; `height` in pixels, `said` for who does not see it."""
    margin = {"l": 70, "r": 20, "t": 30, "b": 50}
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    figure.update_layout(title=None, height=height, margin=margin, legend=legend, hovermode="closest")
    figure.update_layout(paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, legend_bgcolor=CLEAR)
    return figure.update_layout(meta=said, **layout)


def short(name: object) -> str:
    """Returns a name as a sentence has room for it."""
    return plain(name, 40)


def hover(trial: FrozenTrial) -> str:
    """Returns what a trial's mark says under the pointer."""
    values = ", ".join(f"{value:.6g}" for value in trial.values or [])
    params = [
        f"{inert(name, LONGEST)}={inert(show_value(value), LONGEST)}" for name, value in list(trial.params.items())[:_LINES]
    ]
    return "<br>".join([f"trial {trial.number}: {values or state_name(trial)}", *params])


def best_so_far(facts: Facts, metric: Metric) -> go.Figure:
    """Every COMPLETE trial's value, the best so far as a line, and the baseline."""
    trials = sorted(facts.ranked, key=lambda trial: trial.number)
    figure = go.Figure()
    marker = {"color": BLUE, "size": 6, "opacity": 0.45}
    add_trials(figure, trials, _NUMBER, metric.of, "trial", marker)
    best = dict(improvements([(trial.number, metric.of(trial)) for trial in trials], metric))
    rise = [f"{value:.4g} at trial {number}" for number, value in best.items()][-_SAID:]
    said = f"Best {short(metric.name)} of {len(trials)} COMPLETE trials so far: {', then '.join(rise)}"
    best[trials[-1].number] = list(best.values())[-1]  # the line goes on to the last trial
    line = {"color": GREEN, "width": 2.5, "shape": "hv"}
    figure.add_scatter(x=list(best), y=list(best.values()), mode="lines", name="best so far", line=line, hoverinfo="y")
    kept = []
    if facts.baseline is not None and facts.baseline in facts.ranked:
        value = metric.of(facts.baseline)
        kept.append(value)
        said += f"; the baseline, trial {facts.baseline.number}, has {value:.4g}"
        figure.add_hline(y=value, line={"color": PINK, "dash": "dot", "width": 1.5})
        add_trials(figure, [facts.baseline], _NUMBER, metric.of, "baseline", _STAR)
    margin = 0.5 + len(facts.trials) * 0.01
    whole = {"dtick": 1} if len(facts.trials) <= 20 else {}
    figure.update_xaxes(title="trial", range=[-margin, len(facts.trials) - 1 + margin], zeroline=False, **whole)
    limits = sensible_range([*map(metric.of, trials)], metric.maximize, kept)
    figure.update_yaxes(title=inert(metric.name), range=limits)
    return style(figure, 400, f"{said}.")


def importances(found: Importances) -> go.Figure:
    """Both importances of each parameter, the most important on top."""
    names = found.ranking()[::-1]
    figure = go.Figure()
    said = []
    for label, shares, colour, shape in (("PED-ANOVA", found.ped_anova, ORANGE, "/"), ("fANOVA", found.fanova, BLUE, "")):
        known = [name for name in names if name in shares]
        first = ", ".join(f"{short(name)} {shares[name]:.2f}" for name in known[: -_SAID - 1 : -1])
        said += [f"Shares by {label}, the most important parameter first: {first}."] if known else []
        figure.add_bar(
            y=[names.index(name) for name in known],
            text=[inert(name, LONGEST) for name in known],
            x=[shares[name] for name in known],
            name=label,
            orientation="h",
            marker={"color": colour, "pattern": {"shape": shape}},
            texttemplate="%{x:.2f}",
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{text}: %{x:.3f}<extra>" + label + "</extra>",
        )
    figure.update_xaxes(title="share", range=[0, 1.08])
    figure.update_yaxes(tickvals=[*range(len(names))], ticktext=[*map(stacked, names)], automargin=True)
    return style(figure, 110 + 44 * len(names), " ".join(said), barmode="group", legend_traceorder="reversed")


def intermediate_values(facts: Facts, metric: Metric) -> go.Figure:
    """What trials reported step by step; a cross where one was pruned."""
    figure = go.Figure()
    reported = [trial for trial in facts.trials if trial.intermediate_values]
    complete = [trial for trial in reported if trial.state is TrialState.COMPLETE][-_CURVES:]
    pruned = [trial for trial in reported if trial.state is TrialState.PRUNED][-_CURVES:]
    opacity = 0.35 if len(reported) > 50 else 0.8
    _add_curves(figure, pruned, "pruned", ORANGE, 1.0, opacity)
    _add_curves(figure, complete, "complete", BLUE, 1.0, opacity)
    cross = {"color": VERMILLION, "symbol": "x-thin", "size": 7, "line": {"color": VERMILLION, "width": 1.5}}
    add_trials(figure, pruned, _end, lambda trial: trial.intermediate_values[_end(trial)], "pruned here", cross)
    if facts.baseline is not None and facts.baseline.intermediate_values:
        _add_curves(figure, [facts.baseline], "baseline", PINK, 3.0, 1.0, "dot")
    best = [trial for trial in facts.best if trial.intermediate_values]
    _add_curves(figure, best, "best", GREEN, 3.0, 1.0)
    shown = [value for trial in [*complete, *pruned] for value in trial.intermediate_values.values()]
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=inert(metric.name), range=sensible_range(shown, metric.maximize))
    said = f"{short(metric.name)} by step of {len(complete)} complete and {len(pruned)} pruned trials."
    for trial in best[:1]:
        reports = [f"{value:.4g} at step {step}" for step, value in sorted(trial.intermediate_values.items())]
        said += f" The best, trial {trial.number}: {', '.join(dict.fromkeys((reports[0], reports[-1])))}."
    return style(figure, 460, said)


def timeline(facts: Facts) -> go.Figure:
    """A bar for each trial on its worker; gaps between bars of a launch are idle time."""
    figure, edge = go.Figure(), {"color": "#fff", "width": 0.5 if len(facts.timeline.spans) < 400 else 0}
    for state, colour in STATE_COLOURS.items():
        spans = [span for span in facts.timeline.spans if state_name(span.trial) == state]
        if not spans:
            continue
        figure.add_bar(
            y=[span.lane for span in spans],
            x=[span.seconds * 1000 for span in spans],
            base=[datetime.fromtimestamp(span.start).isoformat() for span in spans],
            orientation="h",
            name=state,
            marker={"color": colour, "pattern": {"shape": _STATE_SHAPES.get(state, "")}, "line": edge},
            text=[f"{hover(span.trial)}<br>{clock(span.seconds)}" for span in spans],
            textposition="none",
            hovertemplate="%{text}<extra></extra>",
        )
    kind = "worker" if facts.timeline.named else "lane"
    lanes = list(range(facts.timeline.lanes))
    figure.update_xaxes(type="date")
    figure.update_yaxes(tickvals=lanes, ticktext=[f"{kind} {lane}" for lane in lanes], autorange="reversed")
    work = [[span for span in facts.timeline.spans if span.lane == lane] for lane in lanes]
    each = [f"{kind} {lane}: {len(spans)} in {clock(sum(span.seconds for span in spans))}" for lane, spans in enumerate(work)]
    said = f"Trials of each {kind}: {'; '.join(each[:_LINES])}."
    return style(figure, 120 + 46 * len(lanes), said, barmode="overlay", bargap=0.25)


def pareto_front(facts: Facts, across: Metric, up: Metric) -> go.Figure:
    """All COMPLETE trials in two directions, those of the front, and the baseline."""
    front = {trial.number for trial in facts.best}
    rest = [trial for trial in facts.ranked if trial.number not in front]
    baseline = [facts.baseline] if facts.baseline is not None and facts.baseline in facts.ranked else []
    figure = go.Figure()
    add_trials(figure, rest, across.of, up.of, "other trials", {"color": GREY, "size": 6, "opacity": 0.4})
    add_trials(figure, facts.best, across.of, up.of, "Pareto front", {"color": GREEN, "size": 9, "symbol": "diamond"})
    add_trials(figure, baseline, across.of, up.of, "baseline", _STAR)
    for update, metric in ((figure.update_xaxes, across), (figure.update_yaxes, up)):
        limits = sensible_range(
            [*map(metric.of, facts.ranked)], metric.maximize, [metric.of(trial) for trial in (*facts.best, *baseline)]
        )
        update(range=limits, title=f"{inert(metric.name)}<br>({'more' if metric.maximize else 'less'} is better)")
    ends = (f"trial {trial.number} {across.of(trial):.4g} and {up.of(trial):.4g}" for trial in facts.best[:_LINES])
    said = f"{short(across.name)} and {short(up.name)} of the Pareto front: {', '.join(ends)}; {len(rest)} other trials."
    return style(figure, 440, said)


def add_trials(figure: go.Figure, trials: Sequence[FrozenTrial], x: _Of, y: _Of, name: str, marker: dict[str, Any]) -> None:
    """Adds a mark for each trial, as one trace; its `name` stands in the legend, and under the pointer beside the trial."""
    if trials:
        said = {"text": [*map(hover, trials)], "hovertemplate": "%{text}<extra>" + name + "</extra>"}
        shown = {"mode": "markers", "name": name, "legendgroup": name, "marker": marker, **said}
        figure.add_scatter(x=[*map(x, trials)], y=[*map(y, trials)], **shown)


def _end(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values)


def _add_curves(
    figure: go.Figure, trials: Sequence[FrozenTrial], name: str, colour: str, width: float, opacity: float, dash: str = "solid"
) -> None:
    reports = ((f"trial {trial.number}", sorted(trial.intermediate_values.items())) for trial in trials)
    curves = [(label, [(step, float(f"{value:.6g}")) for step, value in steps]) for label, steps in reports]
    said = "%{text}, step %{x}: %{y}<extra>" + name + "</extra>"
    line = {"color": colour, "width": width, "dash": dash}
    add_lines(figure, curves, name=name, line=line, opacity=opacity, hovertemplate=said)


def add_lines(figure: go.Figure, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], **style: object) -> None:
    """Adds lines, each a text and points (x, y), as one trace: a trace for each would take the browser seconds."""
    if lines:
        points = [(x, y, text) for text, line in lines for x, y in [*line, (None, None)]]
        x, y, text = zip(*points, strict=True)
        figure.add_scatter(x=x, y=y, text=text, mode="lines", **style)
