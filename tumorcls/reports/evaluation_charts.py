"""Draws the charts of the evaluation page, as Plotly figures: small ones, a panel for each noise, as a telephone needs them."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

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

Legend = list[tuple[str, str]]
"""What the lines are called, and their colours."""


def title_of(name: str) -> str:
    """Returns a name in words: ``salt_pepper`` -> ``Salt pepper``."""
    return words(name).capitalize().replace("Jpeg", "JPEG")


def robustness_legend(evaluation: Evaluation, reference: Evaluation | None) -> Legend:
    """Which line of `robustness_curves` is whose; empty where there is one alone."""
    return [(evaluation.name, COLOURS[0]), (reference.name, _REFERENCE)] if reference else []


def robustness_curves(evaluation: Evaluation, noises: Sequence[str], reference: Evaluation | None) -> Panels:
    """Macro-F1 by severity for each noise, seen in training or not, with its 95% band, next to the reference's."""
    panels: Panels = []
    for noise in noises:
        figure = _severity_panel("macro-F1")
        curve = [(severity, scores.macro_f1) for severity, scores in _curve(evaluation, noise)]
        outline = [*((x, e.high) for x, e in curve), *((x, e.low) for x, e in reversed(curve))]
        x, y = zip(*outline, strict=True)
        band = {"fill": "toself", "fillcolor": _BANDS, "line": {"width": 0}, "mode": "lines", "hoverinfo": "skip"}
        figure.add_scatter(x=x, y=y, **band)
        _add_line(figure, curve, COLOURS[0])
        if reference is not None and reference.under(noise):
            theirs = [(severity, scores.macro_f1) for severity, scores in _curve(reference, noise)]
            _add_line(figure, theirs, _REFERENCE, "dash")
        panels.append((title_of(noise), figure))
    return panels


def recall_curves(evaluation: Evaluation) -> tuple[Panels, Legend]:
    """Recall of each class by severity for each noise."""
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(evaluation.classes))]
    panels: Panels = []
    for noise in evaluation.noises:
        figure = _severity_panel("recall")
        for index, colour in enumerate(colours):
            _add_line(figure, [(severity, scores.recall[index]) for severity, scores in _curve(evaluation, noise)], colour)
        panels.append((title_of(noise), figure))
    return panels, list(zip(map(title_of, evaluation.classes), colours, strict=True))


def confusion_matrices(evaluation: Evaluation) -> Panels:
    """Confusion matrices, clean and under each noise at its hardest severity: shares of the true class, with the counts."""
    # Plotly takes some of HTML for markup, links too.
    names = [escape(title_of(name), quote=False) for name in evaluation.classes]
    said = {"texttemplate": "%{text}", "hovertemplate": "true %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>"}
    scale = {"colorscale": "Blues", "zmin": 0, "zmax": 1, "showscale": False}
    panels: Panels = []
    for title, scores in _clean_and_hardest(evaluation):
        shares = [[count / max(sum(row), 1) for count in row] for row in scores.confusion]
        across = {"title": "predicted", "automargin": True, "tickangle": 45}
        figure = _figure(340, across, {"title": "true", "automargin": True, "autorange": "reversed"})
        figure.add_heatmap(z=shares, x=names, y=names, text=scores.confusion, **scale, **said)
        panels.append((title, figure))
    return panels


def reliability_diagram(evaluation: Evaluation) -> tuple[go.Figure, Legend]:
    """Accuracy against confidence, clean and under each noise at its hardest severity; a larger mark is more images."""
    figure = _figure(440, {"title": "confidence", "range": _SHARE}, {"title": "accuracy", "range": _SHARE})
    line = {"color": _REFERENCE, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip")
    images, legend = len(evaluation.labels), [("perfectly calibrated", _REFERENCE)]
    for index, (name, scores) in enumerate(_clean_and_hardest(evaluation)):
        bins, colour = scores.reliability, COLOURS[index % len(COLOURS)]
        figure.add_scatter(
            x=[b.confidence for b in bins],
            y=[b.accuracy for b in bins],
            customdata=[b.count for b in bins],
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "size": [5 + 25 * (b.count / images) ** 0.5 for b in bins]},
            hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata} images<extra></extra>",
        )
        legend.append((f"{name}: ECE {number(scores.calibration_error.value)}", colour))
    return figure, legend


def coverage_curve(selective: Selective) -> go.Figure:
    """The share of wrong answers against the share of images that get one, with the model's own threshold as a star."""
    across = {"title": "share of images that get an answer", "range": _SHARE, "tickformat": ".0%"}
    figure = _figure(360, across, {"title": "share of wrong answers", "rangemode": "tozero", "tickformat": ".0%"})
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


def _add_line(figure: go.Figure, curve: Sequence[tuple[int, Estimate]], colour: str, dash: str = "solid") -> None:
    x, y, text = zip(*((severity, estimate.value, str(estimate)) for severity, estimate in curve), strict=True)
    said = {"text": text, "hovertemplate": "severity %{x}: %{text}<extra></extra>"}
    figure.add_scatter(x=x, y=y, mode="lines+markers", line={"color": colour, "dash": dash}, **said)


def _severity_panel(measure: str) -> go.Figure:
    return _figure(280, {"title": "severity (0 is clean)", "dtick": 1}, {"title": measure, "range": _SHARE})


def _figure(height: int, x: Mapping[str, object], y: Mapping[str, object]) -> go.Figure:
    """Returns an empty figure with its two axes."""
    clear = {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR}
    margin = {"l": 60, "r": 20, "t": 20, "b": 55}
    figure = go.Figure().update_xaxes(x).update_yaxes(y)
    return figure.update_layout(template="plotly_white", height=height, margin=margin, showlegend=False, **clear)
