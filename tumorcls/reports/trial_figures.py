"""Draws what can be seen of a trial: training curve, confusion matrix and robustness curve as SVG, the worst mistakes as PNG.

All are small, and optuna-dashboard shows them on the trial's page.
"""

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tumorcls import DISCLAIMER
from tumorcls.cache.arrays import Rows
from tumorcls.data.dataset import ImageSet
from tumorcls.data.images import fit_square
from tumorcls.data.labels import percent, words
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.reports.page import COLOURS
from tumorcls.reports.png import encode_png
from tumorcls.training.validation import Epoch, ValidationScores

_INK, _FAINT = "#1b1f24", "#4a525c"
_PANEL_WIDTH, _PANEL_HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 40, 42
_ROW, _IN_A_ROW, _SAMPLE = 15, 3, 18  # of the names of lines, and the width of the piece of line before each
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "12 4", "5 2 1 2 1 2")  # no line is told by its colour alone
_CELL, _NAMES = 84, 110  # of a confusion matrix, and room for its class names, in pixels

_SIDE, _GAP, _TILES, _CAPTION, _HEADING = 120, 10, 6, 36, 46  # of the sheet of mistakes: `_TILES` in a row
_TITLE = "Clean validation images that it was surest of and wrong about, one of each group"

Line = Sequence[tuple[float, float]]
"""Points (x, y)."""


def pictures(epochs: Sequence[Epoch], validation: ImageSet) -> dict[str, bytes]:
    """Returns a finished trial's pictures by file name, from all its epochs; the last was measured at all severities."""
    last = epochs[-1].measured
    assert last is not None, "a trial is no final run"
    drawn = {"training-curve.svg": _training(epochs), "confusion-matrix.svg": _confusion(last, validation.classes)}
    if last.noisy_f1:
        drawn["robustness-curve.svg"] = _robustness(last)
    files = {name: tostring(picture) for name, picture in drawn.items()}
    if last.mistakes:
        files["worst-mistakes.png"] = _mistakes(last.mistakes, validation.images, validation.classes)
    return files


def _training(epochs: Sequence[Epoch]) -> Element:
    names = [name for name in ("clean_f1", "noisy_f1") if name in epochs[0].scores]
    scores = {name: [(epoch.number, epoch.scores[name]) for epoch in epochs] for name in names}
    loss = {"training loss": [(epoch.number, epoch.loss) for epoch in epochs]}
    svg = _svg(_PANEL_WIDTH, 2 * _PANEL_HEIGHT)
    _draw_panel(svg, 0, scores, "epoch", "validation", 1.0)
    _draw_panel(svg, _PANEL_HEIGHT, loss, "epoch", "loss", max(epoch.loss for epoch in epochs))
    return svg


def _robustness(measured: ValidationScores) -> Element:
    clean = measured.scores["clean_f1"]
    lines: dict[str, Line] = {noise: [(0, clean), *enumerate(curve, 1)] for noise, curve in measured.noisy_f1.items()}
    svg = _svg(_PANEL_WIDTH, _PANEL_HEIGHT)
    _draw_panel(svg, 0, lines, "severity (0 is clean)", "macro-F1", 1.0)
    return svg


def _draw_panel(svg: Element, above: int, lines: Mapping[str, Line], x_title: str, y_title: str, top: float) -> None:
    """Draws axes from 0 to `top` and the lines, in a panel that begins `above` pixels from the picture's top."""
    x0, x1 = _LEFT, _PANEL_WIDTH - _RIGHT
    y0, y1 = above + _PANEL_HEIGHT - _BOTTOM, above + _TOP + _ROW * ((len(lines) - 1) // _IN_A_ROW)
    end = max(x for line in lines.values() for x, _ in line) or 1
    top = top or 1.0
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = y0 + share * (y1 - y0)
        _add(svg, "line", x1=x0, y1=y, x2=x1, y2=y, stroke="#e3e6ea")
        _write(svg, x0 - 6, y + 4, f"{share * top:.2g}", "end")
    for tick in range(0, int(end) + 1, -(-int(end) // 8)):
        _write(svg, x0 + tick / end * (x1 - x0), y0 + 16, str(tick), "middle")
    _write(svg, (x0 + x1) / 2, y0 + 34, x_title, "middle")
    _write(svg, x0, above + 14, y_title, "start", _INK)
    for number, (name, line) in enumerate(lines.items()):
        stroke = {
            "stroke": COLOURS[number % len(COLOURS)],
            "stroke_dasharray": _DASHES[number % len(_DASHES)],
            "stroke_width": 2,
        }
        points = [(x0 + x / end * (x1 - x0), y0 + min(max(y / top, 0.0), 1.0) * (y1 - y0)) for x, y in line]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        _add(svg, "polyline", points=drawn, fill="none", **stroke)
        for x, y in points:
            _add(svg, "circle", cx=x, cy=y, r=2.5, fill=stroke["stroke"])
        row, column = divmod(number, _IN_A_ROW)
        x, y = x0 + column * (x1 - x0) / _IN_A_ROW, above + 30 + _ROW * row
        _add(svg, "line", x1=x, y1=y - 4, x2=x + _SAMPLE, y2=y - 4, **stroke)
        _write(svg, x + _SAMPLE + 4, y, words(name), "start")


def _confusion(measured: ValidationScores, classes: Sequence[str]) -> Element:
    counts = measured.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    svg = _svg(_NAMES + _CELL * len(classes) + 10, 50 + _CELL * len(classes))
    _write(svg, _NAMES + _CELL * len(classes) / 2, 16, "predicted; rows are the true class", "middle", _INK)
    for number, name in enumerate(classes):
        middle = (number + 0.5) * _CELL
        _write(svg, _NAMES + middle, 36, words(name), "middle")
        _write(svg, _NAMES - 8, 44 + middle + 4, words(name), "end")
    for row, column in np.ndindex(counts.shape):
        x, y, share = _NAMES + column * _CELL, 44 + row * _CELL, shares[row, column]
        _add(svg, "rect", x=x, y=y, width=_CELL - 2, height=_CELL - 2, fill=COLOURS[0], fill_opacity=f"{share:.3f}")
        ink = "#fff" if share > 0.5 else _INK
        _write(svg, x + _CELL / 2, y + _CELL / 2, str(counts[row, column]), "middle", ink)
        _write(svg, x + _CELL / 2, y + _CELL / 2 + 16, percent(share), "middle", ink)
    return svg


def _svg(width: int, height: int) -> Element:
    size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": "sans-serif", "font-size": "12"})
    _add(svg, "rect", width=width, height=height, fill="#fff")  # a ground of its own: the dashboard may be dark
    return svg


def _write(svg: Element, x: float, y: float, text: str, anchor: str, colour: str = _FAINT) -> None:
    _add(svg, "text", x=x, y=y, text_anchor=anchor, fill=colour).text = text


def _add(svg: Element, tag: str, **attributes: object) -> Element:
    shown = {name: f"{value:.1f}" if isinstance(value, float) else str(value) for name, value in attributes.items()}
    return SubElement(svg, tag, {name.replace("_", "-"): value for name, value in shown.items()})


def _mistakes(mistakes: Sequence[Mistake], images: Rows, classes: Sequence[str]) -> bytes:
    """Returns a grey PNG, about ten kilobytes for each mistake on the set's clean images; there must be one."""
    rows = -(-len(mistakes) // _TILES)
    sheet = Image.new("L", (_GAP + _TILES * (_SIDE + _GAP), _HEADING + rows * (_SIDE + _CAPTION + _GAP)), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    pen.text((_GAP, 7), _TITLE, fill=30, font=font)
    pen.text((_GAP, 23), DISCLAIMER, fill=95, font=font)
    for number, mistake in enumerate(mistakes):
        row, column = divmod(number, _TILES)
        x, y = _GAP + column * (_SIDE + _GAP), _HEADING + row * (_SIDE + _CAPTION + _GAP)
        sheet.paste(Image.fromarray(fit_square(images[mistake.image], _SIDE)).convert("L"), (x, y))
        pen.text((x, y + _SIDE + 3), f"{words(classes[mistake.predicted])} {percent(mistake.confidence)}", fill=30, font=font)
        pen.text((x, y + _SIDE + 18), f"is {words(classes[mistake.label])}", fill=95, font=font)
    return encode_png(sheet)
