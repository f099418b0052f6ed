"""What can be seen of a trial? Training curve, confusion matrix and robustness curve as SVG, the worst mistakes as PNG.

All are small, and optuna-dashboard shows them on the trial's page.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from tumorcls.data.dataset import ImageSet
from tumorcls.reports.mistake_sheet import draw_mistakes
from tumorcls.training.validation import Epoch, Measured

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008: told apart by colour-blind readers."""

_PANEL_WIDTH, _PANEL_HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 40, 42
_ROW, _IN_A_ROW = 15, 3  # of the names of lines
_CELL = 84
_NAMES = 110  # room for class names, in pixels

Line = Sequence[tuple[float, float]]
"""Points (x, y)."""


def pictures(epochs: Sequence[Epoch], validation: ImageSet) -> dict[str, bytes]:
    """Returns a finished trial's pictures by file name.

    Args:
        epochs: All epochs; the last one was measured at all severities.
        validation: What they were measured on.
    """
    last = epochs[-1].measured
    assert last is not None, "a trial is no final run"
    drawn = {"training-curve.svg": _training(epochs), "confusion-matrix.svg": _confusion(last, validation.classes)}
    if last.noisy_f1:
        drawn["robustness-curve.svg"] = _robustness(last)
    files = {name: picture.encode() for name, picture in drawn.items()}
    if last.mistakes:
        files["worst-mistakes.png"] = draw_mistakes(last.mistakes, validation.images, validation.classes)
    return files


def _training(epochs: Sequence[Epoch]) -> str:
    names = [name for name in ("clean_f1", "noisy_f1") if name in epochs[0].scores]
    scores = {name: [(epoch.number, epoch.scores[name]) for epoch in epochs] for name in names}
    loss = {"training loss": [(epoch.number, epoch.loss) for epoch in epochs]}
    top = max(epoch.loss for epoch in epochs)
    panels = [*_panel(0, scores, "epoch", "validation", 1.0), *_panel(_PANEL_HEIGHT, loss, "epoch", "loss", top)]
    return _svg(_PANEL_WIDTH, 2 * _PANEL_HEIGHT, panels)


def _robustness(measured: Measured) -> str:
    clean = measured.scores["clean_f1"]
    lines: dict[str, Line] = {noise: [(0, clean), *enumerate(curve, 1)] for noise, curve in measured.noisy_f1.items()}
    return _svg(_PANEL_WIDTH, _PANEL_HEIGHT, _panel(0, lines, "severity (0 is clean)", "macro-F1", 1.0))


def _panel(above: int, lines: Mapping[str, Line], x_title: str, y_title: str, top: float) -> Iterator[str]:
    """Yields axes from 0 to `top` and the lines, in a panel that begins `above` pixels from the top."""
    x0, x1 = _LEFT, _PANEL_WIDTH - _RIGHT
    y0, y1 = above + _PANEL_HEIGHT - _BOTTOM, above + _TOP + _ROW * ((len(lines) - 1) // _IN_A_ROW)
    end = max(x for line in lines.values() for x, _ in line) or 1
    top = top or 1.0
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = y0 + share * (y1 - y0)
        yield f'<line x1="{x0}" y1="{y:.1f}" x2="{x1}" y2="{y:.1f}" stroke="#e3e6ea"/>'
        yield _text(x0 - 6, y + 4, f"{share * top:.2g}", "end")
    for tick in range(0, int(end) + 1, -(-int(end) // 8)):
        yield _text(x0 + tick / end * (x1 - x0), y0 + 16, str(tick), "middle")
    yield _text((x0 + x1) / 2, y0 + 34, x_title, "middle")
    yield _text(x0, above + 14, y_title, "start", "#1b1f24")
    for at, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[at % len(_COLOURS)]
        places = [(x0 + x / end * (x1 - x0), y0 + min(max(y / top, 0.0), 1.0) * (y1 - y0)) for x, y in line]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places)
        place = x0 + at % _IN_A_ROW * (x1 - x0) / _IN_A_ROW, above + 30 + _ROW * (at // _IN_A_ROW)
        yield _text(*place, name.replace("_", " "), "start", colour)


def _confusion(measured: Measured, classes: Sequence[str]) -> str:
    counts = measured.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [_text(_NAMES + _CELL * len(classes) / 2, 16, "predicted; rows are the true class", "middle", "#1b1f24")]
    for at, name in enumerate(classes):
        label = name.replace("_", " ")
        parts.append(_text(_NAMES + (at + 0.5) * _CELL, 36, label, "middle"))
        parts.append(_text(_NAMES - 8, 44 + (at + 0.5) * _CELL + 4, label, "end"))
    for row, column in np.ndindex(counts.shape):
        x, y, share = _NAMES + column * _CELL, 44 + row * _CELL, shares[row, column]
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" fill="#0072B2" fill-opacity="{share:.3f}"/>'
        )
        ink = "#fff" if share > 0.5 else "#1b1f24"
        parts.append(_text(x + _CELL / 2, y + _CELL / 2, str(counts[row, column]), "middle", ink))
        parts.append(_text(x + _CELL / 2, y + _CELL / 2 + 16, f"{share:.0%}", "middle", ink))
    return _svg(_NAMES + _CELL * len(classes) + 10, 50 + _CELL * len(classes), parts)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#4a525c") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str] | Iterator[str]) -> str:
    # A ground of its own: the dashboard may be dark.
    ground = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'{head} font-family="sans-serif" font-size="12">{ground}{"".join(parts)}</svg>'
