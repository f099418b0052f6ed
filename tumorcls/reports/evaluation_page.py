"""An evaluation as one HTML page that needs no network: charts, tables, and the worst mistakes as pictures."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from tumorcls import DISCLAIMER
from tumorcls.cache.arrays import Rows
from tumorcls.evaluation.bootstrap import Estimate
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.evaluation.record import Evaluation, Relative, Scores
from tumorcls.files import write_whole
from tumorcls.noise.kinds import NOISES
from tumorcls.noise.severity import SEVERITIES, corrupt
from tumorcls.reports.evaluation_charts import (
    confusion_matrices,
    recall_curves,
    reliability_diagram,
    robustness_curves,
    title_of,
)
from tumorcls.reports.page import policy_tag, table

_THUMBNAIL_SIDE = 160
_Figure = tuple[str, str, go.Figure]


def write_page(path: Path, evaluation: Evaluation, images: Rows | None = None, reference: Evaluation | None = None) -> None:
    """Writes the page; see `render_page`.

    Raises:
        DataError: The folder cannot be written or the disk is full.
    """
    write_whole(path, render_page(evaluation, images, reference))


def render_page(evaluation: Evaluation, images: Rows | None = None, reference: Evaluation | None = None) -> str:
    """Returns the page as HTML.

    Args:
        evaluation: What to show.
        images: uint8 (n, h, w, 3) test images in the order of the evaluation, for the pictures of mistakes; None shows none.
        reference: A second model, drawn next to the first in the robustness curves.
    """
    charts = [_chart_section(*figure) for figure in _figures(evaluation, reference)]
    sections = [_summary(evaluation), *charts, _mistakes(evaluation, images), _conditions(evaluation), _method(evaluation)]
    plotly = f"<script>{get_plotlyjs()}</script>"
    return _PAGE.substitute(
        # Plotly writes "<" in its data as an escape of JSON, so a chart's only script is the one that draws it.
        policy=policy_tag([plotly, *charts], inline_styles=True),
        title=f"Evaluation of {escape(evaluation.name)}",
        disclaimer=escape(DISCLAIMER),
        plotly=plotly,
        sections="\n".join(sections),
    )


def _figures(evaluation: Evaluation, reference: Evaluation | None) -> Iterator[_Figure]:
    if evaluation.noisy:
        yield (
            "Robustness",
            "Macro-F1 as the noise grows. Bands are 95% intervals by group.",
            robustness_curves(evaluation, reference),
        )
        yield (
            "Recall of each class under noise",
            "Where one line rises while others fall, the model calls everything by that class.",
            recall_curves(evaluation),
        )
    yield (
        "Confusion matrices",
        "Rows are the true class, columns the predicted one; numbers count images.",
        confusion_matrices(evaluation),
    )
    yield (
        "Reliability",
        "Below the dotted line the model is surer than it is right; larger marks hold more images.",
        reliability_diagram(evaluation),
    )


def _chart_section(title: str, text: str, figure: go.Figure) -> str:
    chart = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})
    return f"<section><h2>{title}</h2><p>{text}</p>{chart}</section>"


def _summary(evaluation: Evaluation) -> str:
    clean = evaluation.clean
    rows: list[tuple[str, str]] = [
        ("Accuracy, clean", str(clean.accuracy)),
        ("Balanced accuracy, clean", str(clean.balanced_accuracy)),
        ("Macro-F1, clean", str(clean.macro_f1)),
        ("Expected calibration error, clean", str(clean.calibration_error)),
    ]
    if evaluation.summary is not None:
        summary = evaluation.summary
        rows += [
            ("Macro-F1, mean over noises and severities", str(summary.noisy_f1)),
            ("Macro-F1, mean of clean and noisy", str(summary.robust_f1)),
            (f"Macro-F1, worst noise ({title_of(summary.worst_noise).lower()})", str(summary.worst_f1)),
        ]
    scores = table(("", "value (95% interval)"), rows)
    relative = "" if evaluation.relative is None else _relative(evaluation.relative)
    return f"<section><h2>In short</h2>{scores}<h3>Clean, by class</h3>{_by_class(evaluation)}{relative}</section>"


def _by_class(evaluation: Evaluation) -> str:
    clean = evaluation.clean
    rows = [
        (
            title_of(name),
            str(sum(clean.confusion[i])),
            str(clean.recall[i]),
            *(_number(values[i]) for values in (clean.precision, clean.f1, clean.roc_auc)),
        )
        for i, name in enumerate(evaluation.classes)
    ]
    return table(("class", "images", "recall (95% interval)", "precision", "F1", "ROC AUC, one against the rest"), rows)


def _relative(relative: Relative) -> str:
    rows = [(title_of(error.noise), str(error.be), str(error.rbe)) for error in relative.errors]
    text = (
        f"Balanced error under noise divided by that of <em>{escape(relative.reference)}</em> (BE), and the same for its "
        "increase over the clean error (rBE). Below 1 is better than the reference; not defined where that hardly errs."
    )
    return f"<h3>Robustness relative to the reference</h3><p>{text}</p>{table(('noise', 'BE', 'rBE'), rows)}"


def _mistakes(evaluation: Evaluation, images: Rows | None) -> str:
    if not evaluation.mistakes:
        body = "<p>None: every prediction was right.</p>"
    else:
        cards = "".join(_card(evaluation, mistake, images) for mistake in evaluation.mistakes)
        body = f'<div class="cards">{cards}</div>'
    text = "The surest wrong predictions: on clean images first, then under noise on images that were right when clean."
    return f"<section><h2>Worst mistakes</h2><p>{text}</p>{body}</section>"


def _card(evaluation: Evaluation, mistake: Mistake, images: Rows | None) -> str:
    label, predicted = (title_of(evaluation.classes[i]) for i in (mistake.label, mistake.predicted))
    condition = "clean" if mistake.noise is None else f"{title_of(mistake.noise).lower()}, severity {mistake.severity}"
    picture = "" if images is None else _picture(images[mistake.image : mistake.image + 1], mistake, evaluation.noise_seed)
    caption = (
        f"<b>{escape(predicted)}</b> {mistake.confidence:.0%}<br>is {escape(label)}<br><small>{escape(condition)}<br>"
        f"<code>{escape(mistake.key[:12])}</code></small>"
    )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _picture(image: NDArray[np.uint8], mistake: Mistake, seed: int) -> str:
    shown = image if mistake.noise is None else corrupt(image, mistake.noise, mistake.severity, seed, [mistake.key])
    small = cv2.resize(shown[0], (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}">'


def _conditions(evaluation: Evaluation) -> str:
    header = ("condition", "parameter", "accuracy", "balanced accuracy", "macro-F1", "ROC AUC, mean", "calibration error")
    rows = [("Clean", "", *_row(evaluation.clean))]
    for condition in evaluation.noisy:
        parameter = SEVERITIES[condition.noise][condition.severity - 1]
        rows.append((f"{title_of(condition.noise)} {condition.severity}", f"{parameter:g}", *_row(condition.scores)))
    return f"<section><h2>Every condition</h2>{table(header, rows)}</section>"


def _row(scores: Scores) -> tuple[str, ...]:
    areas = [area for area in scores.roc_auc if area is not None]
    mean_area = _number(sum(areas) / len(areas) if areas else None)
    estimates: Sequence[Estimate] = (scores.accuracy, scores.balanced_accuracy, scores.macro_f1)
    return (*map(str, estimates), mean_area, str(scores.calibration_error))


def _method(evaluation: Evaluation) -> str:
    facts = [
        ("Test images", f"{len(evaluation.labels)} in {len(set(evaluation.groups))} groups"),
        ("Test set", evaluation.test_set_sha256),
        ("Intervals", f"percentiles of {evaluation.resamples} bootstrap resamples of groups, 95%"),
        ("Noise seed", str(evaluation.noise_seed)),
        *((title_of(noise), f"parameter: {NOISES[noise].parameter}") for noise in evaluation.noises),
        *evaluation.provenance.items(),
    ]
    return f"<section><h2>How it was measured</h2>{table(('', ''), facts)}</section>"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
$policy
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1160px; margin: 0 auto; padding: 16px 24px 48px; }
h1 { font-size: 26px; margin: 8px 0; } h2 { font-size: 20px; margin: 36px 0 4px; } h3 { font-size: 16px; margin: 20px 0 4px; }
p { margin: 4px 0 10px; color: #4a525c; }
.notice { border-left: 4px solid #d55e00; background: #fff4ec; color: #1b1f24; padding: 8px 12px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid #e3e6ea; white-space: nowrap; }
th { color: #4a525c; font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 16px; }
figure { margin: 0; } figure img { width: 160px; height: 160px; background: #000; display: block; }
figcaption { line-height: 1.35; margin-top: 4px; } code { font-size: 12px; }
</style>
$plotly
</head>
<body>
<h1>$title</h1>
<p class="notice">$disclaimer</p>
$sections
</body>
</html>
""")
