"""Draws the charts of the evaluation page, as Plotly figures: small ones, a panel for each noise, as a telephone needs them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import plotly.graph_objects as go
import plotly.io as pio

from tumorcls.data.labels import probability, words
from tumorcls.evaluation.bootstrap import Estimate
from tumorcls.evaluation.record import Evaluation, Scores
from tumorcls.evaluation.selective import Selective
from tumorcls.reports.page import COLOURS, number

_BANDS = "rgba(0, 114, 178, 0.18)"
_REFERENCE = "#777777"
_CLEAR = "rgba(0, 0, 0, 0)"  # the ground is the page's
_SHARE = [0, 1.02]  # the ends of an axis, with room for a mark at 1

Panels = list[tuple[str, go.Figure]]
"""Figures side by side, each with its title."""

Legend = list[tuple[str, str, str]]
"""What the lines are called, their colours and their marks."""

_SYMBOLS = {"circle": "●", "square": "■", "diamond": "◆", "cross": "✚", "x": "✖", "triangle-up": "▲", "star": "★"}
"""Plotly's marks, one for each of `COLOURS`, and how a text shows them."""


def title_of(name: str) -> str:
    """Returns a name in words: ``salt_pepper`` -> ``Salt pepper``."""
    return words(name).capitalize().replace("Jpeg", "JPEG")


def robustness_legend(evaluation: Evaluation, reference: Evaluation | None) -> Legend:
    """Which line of `robustness_curves` is whose; empty where there is one alone."""
    return [(evaluation.name, COLOURS[0], "●"), (reference.name, _REFERENCE, "■ dashed:")] if reference else []


def robustness_curves(evaluation: Evaluation, noises: Sequence[str], reference: Evaluation | None) -> Panels:
    """Macro-F1 by severity for each noise, seen in training or not, with its 95% band, next to the reference's."""
    panels: Panels = []
    for noise in noises:
        curve = [(severity, scores.macro_f1) for severity, scores in _curve(evaluation, noise)]
        figure = _severity_panel("macro-F1", _said(evaluation.name, curve))
        outline = [*((x, e.high) for x, e in curve), *((x, e.low) for x, e in reversed(curve))]
        x, y = zip(*outline, strict=True)
        band = {"fill": "toself", "fillcolor": _BANDS, "line": {"width": 0}, "mode": "lines", "hoverinfo": "skip"}
        figure.add_scatter(x=x, y=y, **band)
        _add_line(figure, curve, 0)
        if reference is not None and reference.under(noise):
            theirs = [(severity, scores.macro_f1) for severity, scores in _curve(reference, noise)]
            _add_line(figure, theirs, 1, color=_REFERENCE, dash="dash")
            figure.layout.meta += f" {_said(reference.name, theirs)}"
        panels.append((title_of(noise), figure))
    return panels


def unseen_dots(evaluation: Evaluation) -> tuple[str, go.Figure]:
    """Macro-F1 with its 95% interval under each kind never seen, at the hardest severity measured; dotted is the clean one."""
    rows = [(title_of(kind), evaluation.under(kind)[-1].scores.macro_f1) for kind in evaluation.unseen_kinds]
    known = sorted(
        (x.value, x.low, x.high, name, str(x))
        for name, x in rows
        if x.value is not None and x.low is not None and x.high is not None
    )
    said = f"macro-F1, the worst first: {', '.join(f'{name} {value:.3f}' for value, _, _, name, _ in known)}."
    figure = _figure(90 + 26 * len(known), {"title": "macro-F1", "range": _SHARE}, {"automargin": True}, said)
    figure.add_scatter(
        x=[value for value, *_ in known],
        y=[name for *_, name, _ in known],
        text=[text for *_, text in known],
        mode="markers",
        marker={"color": COLOURS[0], "size": 9},
        error_x={"array": [high - x for x, _, high, *_ in known], "arrayminus": [x - low for x, low, *_ in known]},
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    if evaluation.clean.macro_f1.value is not None:
        figure.add_vline(x=evaluation.clean.macro_f1.value, line={"color": _REFERENCE, "dash": "dot"})
    title = f"At severity {evaluation.unseen[-1].severity} of 5, the worst first; dotted: clean"
    return title, figure.update_yaxes(autorange="reversed")


def recall_curves(evaluation: Evaluation) -> tuple[Panels, Legend]:
    """Recall of each class by severity for each noise."""
    panels: Panels = []
    for noise in evaluation.noises:
        figure = _severity_panel("recall", "")
        for index, name in enumerate(evaluation.classes):
            line = [(severity, scores.recall[index]) for severity, scores in _curve(evaluation, noise)]
            _add_line(figure, line, index)
            figure.layout.meta += f" {_said(title_of(name), line)}"
        panels.append((title_of(noise), figure))
    return panels, [(title_of(name), *_look(index)) for index, name in enumerate(evaluation.classes)]


def confusion_matrices(evaluation: Evaluation) -> Panels:
    """Confusion matrices, clean and under each noise at its hardest severity: shares of the true class, with the counts."""
    # Plotly takes some of HTML for markup, links too.
    names = [escape(title_of(name), quote=False) for name in evaluation.classes]
    shown = {"texttemplate": "%{text}", "hovertemplate": "true %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>"}
    scale = {"colorscale": "Blues", "zmin": 0, "zmax": 1, "showscale": False}
    panels: Panels = []
    for title, scores in _clean_and_hardest(evaluation):
        shares = [[count / max(sum(row), 1) for count in row] for row in scores.confusion]
        across = {"title": "predicted", "automargin": True, "tickangle": 45}
        rows = zip(evaluation.classes, scores.confusion, strict=True)
        said = "; ".join(f"of {sum(row)} {words(name)}, {row[at]} right" for at, (name, row) in enumerate(rows))
        figure = _figure(340, across, {"title": "true", "automargin": True, "autorange": "reversed"}, f"{title}: {said}.")
        figure.add_heatmap(z=shares, x=names, y=names, text=scores.confusion, **scale, **shown)
        panels.append((title, figure))
    return panels


def reliability_diagram(evaluation: Evaluation) -> tuple[go.Figure, Legend]:
    """Accuracy against confidence, clean and under each noise at its hardest severity; a larger mark is more images."""
    figure = _figure(440, {"title": "confidence", "range": _SHARE}, {"title": "accuracy", "range": _SHARE}, "")
    line = {"color": _REFERENCE, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip")
    images, legend = len(evaluation.labels), [("dotted: perfectly calibrated", _REFERENCE, "")]
    for index, (name, scores) in enumerate(_clean_and_hardest(evaluation)):
        bins, (colour, mark) = scores.reliability, _look(index)
        figure.add_scatter(
            x=[b.confidence for b in bins],
            y=[b.accuracy for b in bins],
            customdata=[b.count for b in bins],
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={**_marker(index), "size": [5 + 25 * (b.count / images) ** 0.5 for b in bins]},
            hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata} images<extra></extra>",
        )
        legend.append((f"{name}: ECE {number(scores.calibration_error.value)}", colour, mark))
    figure.layout.meta = f"Expected calibration error: {'; '.join(line for line, *_ in legend[1:])}."
    return figure, legend


def coverage_curve(selective: Selective) -> go.Figure:
    """The share of wrong answers against the share of images that get one, with the model's own threshold as a star."""
    across = {"title": "share of images that get an answer", "range": _SHARE, "tickformat": ".0%"}
    up = {"title": "share of wrong answers", "rangemode": "tozero", "tickformat": ".0%"}
    some = selective.curve[:: max(1, len(selective.curve) // 4)]
    points = ", ".join(f"{point.error:.1%} where {point.coverage:.0%} get one" for point in some)
    figure = _figure(360, across, up, f"Share of wrong answers: {points}.")
    said = "coverage %{x:.1%}, error %{y:.1%}, confidence %{customdata}<extra></extra>"
    figure.add_scatter(
        x=[point.coverage for point in selective.curve],
        y=[point.error for point in selective.curve],
        customdata=[probability(point.threshold) for point in selective.curve],
        mode="lines",
        line={"color": COLOURS[0], "width": 2, "shape": "hv"},
        hovertemplate=said,
    )
    if selective.error.value is not None:
        star = {"color": COLOURS[1], "symbol": "star", "size": 14}
        here = {"x": [selective.coverage.value], "y": [selective.error.value], "customdata": [probability(selective.threshold)]}
        figure.add_scatter(**here, mode="markers", marker=star, hovertemplate=said)
    return figure


def _clean_and_hardest(evaluation: Evaluation) -> list[tuple[str, Scores]]:
    hardest = [evaluation.under(noise)[-1] for noise in evaluation.noises]
    noisy = [(f"{title_of(condition.noise)}, severity {condition.severity}", condition.scores) for condition in hardest]
    return [("Clean", evaluation.clean), *noisy]


def _curve(evaluation: Evaluation, noise: str) -> list[tuple[int, Scores]]:
    return [(0, evaluation.clean), *((condition.severity, condition.scores) for condition in evaluation.under(noise))]


def _said(name: str, curve: Sequence[tuple[int, Estimate]]) -> str:
    """Returns a line of a chart in words."""
    return f"{name}, by severity from clean: {', '.join(number(estimate.value) for _, estimate in curve)}."


def _look(index: int) -> tuple[str, str]:
    """Returns the colour and the mark of a line, the mark as text."""
    return COLOURS[index % len(COLOURS)], list(_SYMBOLS.values())[index % len(_SYMBOLS)]


def _marker(index: int) -> dict[str, object]:
    return {"symbol": list(_SYMBOLS)[index % len(_SYMBOLS)], "size": 7}


def _add_line(figure: go.Figure, curve: Sequence[tuple[int, Estimate]], index: int, **line: object) -> None:
    x, y, text = zip(*((severity, estimate.value, str(estimate)) for severity, estimate in curve), strict=True)
    said = {"text": text, "hovertemplate": "severity %{x}: %{text}<extra></extra>"}
    style = {"line": {"color": _look(index)[0], **line}, "marker": _marker(index)}
    figure.add_scatter(x=x, y=y, mode="lines+markers", **style, **said)


def _severity_panel(measure: str, said: str) -> go.Figure:
    return _figure(
        280, {"title": "severity (0 is clean)", "dtick": 1}, {"title": measure, "range": _SHARE}, f"{measure}: {said}"
    )


def _figure(height: int, x: Mapping[str, object], y: Mapping[str, object], said: str) -> go.Figure:
    """Returns an empty figure with its two axes; `said` is its text for who does not see it."""
    margin = {"l": 60, "r": 20, "t": 20, "b": 55}
    look = {"height": height, "margin": margin, "showlegend": False, "paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR}
    return go.Figure().update_layout(xaxis=x, yaxis=y, meta=said, **look)


@contextlib.contextmanager
def white() -> Iterator[None]:
    """Has figures begin in Plotly's white look, which Plotly then checks once, and not for each figure in 15 ms."""
    before, pio.templates.default = pio.templates.default, "plotly_white"
    try:
        yield
    finally:
        pio.templates.default = before
