"""Draws the charts of the evaluation page, as Plotly figures."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tumorcls.evaluation.bootstrap import Estimate
from tumorcls.evaluation.record import Evaluation, Scores
from tumorcls.labels import words
from tumorcls.reports.page import COLOURS, number

_BANDS = "rgba(0, 114, 178, 0.18)"
_REFERENCE = "#777777"
_COLUMNS = 4


def _text(name: str) -> str:
    """Returns a text as Plotly shows it literally: it takes some of HTML for markup, links too."""
    return escape(name, quote=False)


def title_of(name: str) -> str:
    """Returns a name in words: ``salt_pepper`` -> ``Salt pepper``."""
    return words(name).capitalize()


def robustness_curves(evaluation: Evaluation, reference: Evaluation | None) -> go.Figure:
    """Macro-F1 by severity for each noise, with its 95% band, next to the reference's."""
    figure = _severity_grid(evaluation, "macro-F1")
    for panel, noise in enumerate(evaluation.noises):
        curve = [(severity, scores.macro_f1) for severity, scores in _curve(evaluation, noise)]
        outline = [*((x, e.high) for x, e in curve), *((x, e.low) for x, e in reversed(curve))]
        x, y = zip(*outline, strict=True)
        band = {"fill": "toself", "fillcolor": _BANDS, "line": {"width": 0}, "mode": "lines", "hoverinfo": "skip"}
        figure.add_scatter(x=x, y=y, showlegend=False, **band, **_place(panel))
        _add_line(figure, panel, curve, evaluation.name, COLOURS[0])
        if reference is not None and noise in reference.noises:
            theirs = [(severity, scores.macro_f1) for severity, scores in _curve(reference, noise)]
            _add_line(figure, panel, theirs, reference.name, _REFERENCE, "dash")
    return figure


def recall_curves(evaluation: Evaluation) -> go.Figure:
    """Recall of each class by severity for each noise."""
    figure = _severity_grid(evaluation, "recall")
    for panel, noise in enumerate(evaluation.noises):
        for index, name in enumerate(evaluation.classes):
            curve = [(severity, scores.recall[index]) for severity, scores in _curve(evaluation, noise)]
            _add_line(figure, panel, curve, title_of(name), COLOURS[index])
    return figure


def confusion_matrices(evaluation: Evaluation) -> go.Figure:
    """Confusion matrices, clean and under each noise at its hardest severity: shares of the true class, with the counts."""
    shown = _clean_and_hardest(evaluation)
    figure = _grid([name for name, _ in shown])
    names = [_text(title_of(name)) for name in evaluation.classes]
    said = {"texttemplate": "%{text}", "hovertemplate": "true %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>"}
    for panel, (_, scores) in enumerate(shown):
        shares = [[count / max(sum(row), 1) for count in row] for row in scores.confusion]
        figure.add_heatmap(z=shares, x=names, y=names, text=scores.confusion, coloraxis="coloraxis", **said, **_place(panel))
    scale = {"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": {"title": "share of<br>true class", "tickformat": ".0%"}}
    figure.update_layout(coloraxis=scale)
    figure.update_yaxes(autorange="reversed")
    return figure


def reliability_diagram(evaluation: Evaluation) -> go.Figure:
    """Accuracy against confidence, clean and under each noise at its hardest severity; a larger mark is more images."""
    figure = go.Figure()
    line = {"color": _REFERENCE, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="perfectly calibrated", hoverinfo="skip")
    images = len(evaluation.labels)
    for index, (name, scores) in enumerate(_clean_and_hardest(evaluation)):
        bins, colour = scores.reliability, COLOURS[index % len(COLOURS)]
        figure.add_scatter(
            x=[b.confidence for b in bins],
            y=[b.accuracy for b in bins],
            customdata=[b.count for b in bins],
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "size": [5 + 25 * (b.count / images) ** 0.5 for b in bins]},
            name=f"{name}: ECE {number(scores.calibration_error.value)}",
            hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata} images<extra></extra>",
        )
    figure.update_layout(template="plotly_white", height=480, margin={"l": 60, "r": 20, "t": 30, "b": 50})
    figure.update_xaxes(title="confidence", range=[0, 1.02])
    figure.update_yaxes(title="accuracy", range=[0, 1.02])
    return figure


def _clean_and_hardest(evaluation: Evaluation) -> list[tuple[str, Scores]]:
    hardest = [evaluation.under(noise)[-1] for noise in evaluation.noises]
    noisy = [(f"{title_of(condition.noise)}, severity {condition.severity}", condition.scores) for condition in hardest]
    return [("Clean", evaluation.clean), *noisy]


def _curve(evaluation: Evaluation, noise: str) -> list[tuple[int, Scores]]:
    return [(0, evaluation.clean), *((condition.severity, condition.scores) for condition in evaluation.under(noise))]


def _add_line(
    figure: go.Figure, panel: int, curve: Sequence[tuple[int, Estimate]], name: str, colour: str, dash: str = "solid"
) -> None:
    x, y, text = zip(*((severity, estimate.value, str(estimate)) for severity, estimate in curve), strict=True)
    said = {"text": text, "hovertemplate": "severity %{x}: %{text}<extra></extra>"}
    shown = {"name": _text(name), "legendgroup": _text(name), "showlegend": panel == 0, "mode": "lines+markers", **said}
    figure.add_scatter(x=x, y=y, line={"color": colour, "dash": dash}, **shown, **_place(panel))


def _severity_grid(evaluation: Evaluation, measure: str) -> go.Figure:
    figure = _grid([title_of(noise) for noise in evaluation.noises])
    figure.update_xaxes(title="severity (0 is clean)", dtick=1)
    figure.update_yaxes(range=[0, 1.02])
    figure.update_yaxes(title=measure, col=1)
    legend = {"orientation": "h", "y": 1.0, "yref": "container", "yanchor": "top", "x": 0}
    return figure.update_layout(legend=legend, margin_t=90)


def _grid(titles: list[str]) -> go.Figure:
    rows, columns = -(-len(titles) // _COLUMNS), min(_COLUMNS, len(titles))
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.34 / rows)
    margin = {"l": 60, "r": 20, "t": 50, "b": 50}
    return figure.update_layout(template="plotly_white", margin=margin, height=330 * rows + 70)


def _place(panel: int) -> dict[str, int]:
    return {"row": panel // _COLUMNS + 1, "col": panel % _COLUMNS + 1}
