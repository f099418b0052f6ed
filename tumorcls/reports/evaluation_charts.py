"""The charts of the evaluation page, as Plotly figures."""

from collections.abc import Iterable
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tumorcls.evaluation.bootstrap import Estimate
from tumorcls.evaluation.record import Evaluation, Scores
from tumorcls.labels import words

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008: told apart by colour-blind readers."""

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
    figure = _grid([title_of(noise) for noise in evaluation.noises])
    for place, noise in enumerate(evaluation.noises):
        severities, scores = _curve(evaluation, noise)
        estimates = [score.macro_f1 for score in scores]
        where = _place(place)
        band = [*(e.high for e in estimates), *(e.low for e in reversed(estimates))]
        shape = {"fill": "toself", "fillcolor": _BANDS, "line": {"width": 0}, "mode": "lines", "hoverinfo": "skip"}
        figure.add_scatter(x=severities + severities[::-1], y=band, showlegend=False, **shape, **where)
        _add_line(figure, severities, estimates, evaluation.name, _COLOURS[0], place)
        if reference is not None and noise in reference.noises:
            at, theirs = _curve(reference, noise)
            _add_line(figure, at, [score.macro_f1 for score in theirs], reference.name, _REFERENCE, place, dash="dash")
    return _finish_severity_axes(figure, "macro-F1", len(evaluation.noises))


def recall_curves(evaluation: Evaluation) -> go.Figure:
    """Recall of each class by severity for each noise."""
    figure = _grid([title_of(noise) for noise in evaluation.noises])
    for place, noise in enumerate(evaluation.noises):
        severities, scores = _curve(evaluation, noise)
        for index, name in enumerate(evaluation.classes):
            recalls = [score.recall[index] for score in scores]
            _add_line(figure, severities, recalls, title_of(name), _COLOURS[index], place)
    return _finish_severity_axes(figure, "recall", len(evaluation.noises))


def confusion_matrices(evaluation: Evaluation) -> go.Figure:
    """Confusion matrices, clean and under each noise at its hardest severity: shares of the true class, with the counts."""
    shown = _clean_and_hardest(evaluation)
    figure = _grid([name for name, _ in shown])
    names = [_text(title_of(name)) for name in evaluation.classes]
    for place, (_, scores) in enumerate(shown):
        shares = [[count / max(sum(row), 1) for count in row] for row in scores.confusion]
        figure.add_heatmap(
            z=shares,
            x=names,
            y=names,
            text=scores.confusion,
            texttemplate="%{text}",
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>",
            coloraxis="coloraxis",
            **_place(place),
        )
    scale = {"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": {"title": "share of<br>true class", "tickformat": ".0%"}}
    figure.update_layout(coloraxis=scale, height=320 * _rows(len(shown)) + 70)
    figure.update_yaxes(autorange="reversed")
    return figure


def reliability_diagram(evaluation: Evaluation) -> go.Figure:
    """Accuracy against confidence, clean and under each noise at its hardest severity; a larger mark is more images."""
    figure = go.Figure()
    line = {"color": _REFERENCE, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="perfectly calibrated", hoverinfo="skip")
    images = len(evaluation.labels)
    for index, (name, scores) in enumerate(_clean_and_hardest(evaluation)):
        bins, colour = scores.reliability, _COLOURS[index % len(_COLOURS)]
        figure.add_scatter(
            x=[b.confidence for b in bins],
            y=[b.accuracy for b in bins],
            customdata=[b.count for b in bins],
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "size": [5 + 25 * (b.count / images) ** 0.5 for b in bins]},
            name=f"{name}: ECE {_short(scores.calibration_error)}",
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


def _curve(evaluation: Evaluation, noise: str) -> tuple[list[int], list[Scores]]:
    conditions = evaluation.under(noise)
    return [0, *(c.severity for c in conditions)], [evaluation.clean, *(c.scores for c in conditions)]


def _add_line(
    figure: go.Figure,
    severities: list[int],
    estimates: Iterable[Estimate],
    name: str,
    colour: str,
    place: int,
    dash: str = "solid",
) -> None:
    listed = list(estimates)
    figure.add_scatter(
        x=severities,
        y=[e.value for e in listed],
        text=[str(e) for e in listed],
        mode="lines+markers",
        name=_text(name),
        legendgroup=_text(name),
        showlegend=place == 0,
        line={"color": colour, "dash": dash},
        hovertemplate="severity %{x}: %{text}<extra></extra>",
        **_place(place),
    )


def _grid(titles: list[str]) -> go.Figure:
    rows = _rows(len(titles))
    figure = make_subplots(
        rows, min(_COLUMNS, len(titles)), subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.34 / rows
    )
    return figure.update_layout(template="plotly_white", margin={"l": 60, "r": 20, "t": 50, "b": 50})


def _finish_severity_axes(figure: go.Figure, measure: str, panels: int) -> go.Figure:
    figure.update_xaxes(title="severity (0 is clean)", dtick=1)
    figure.update_yaxes(range=[0, 1.02])
    figure.update_yaxes(title=measure, col=1)
    legend = {"orientation": "h", "y": 1.0, "yref": "container", "yanchor": "top", "x": 0}
    return figure.update_layout(height=340 * _rows(panels) + 60, legend=legend, margin_t=90)


def _rows(panels: int) -> int:
    return -(-panels // _COLUMNS)


def _place(index: int) -> dict[str, int]:
    return {"row": index // _COLUMNS + 1, "col": index % _COLUMNS + 1}


def _short(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.3f}"
