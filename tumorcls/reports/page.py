"""Turns a template and what it shows into one page, in which text from anywhere stays text and nothing loads from elsewhere.

Two locks. Jinja escapes every text. And every page carries a Content-Security-Policy that forbids all but its own styles, its
own scripts (by their hashes) and pictures that lie inside it: what slips through the first lock is neither run nor fetched.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from tumorcls import DISCLAIMER, __version__
from tumorcls.data.labels import exact_percent, percent, probability, words

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008: told apart by colour-blind readers."""

_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)


@cache
def environment() -> Environment:
    """Returns what templates of this package are read with; a template's name is its path in the package."""
    environment = Environment(
        loader=PackageLoader("tumorcls", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"disclaimer": DISCLAIMER, "policy": policy}
    environment.globals |= {"today": date.today, "version": __version__}
    environment.filters |= {"number": number, "probability": probability, "percent": percent}
    environment.filters |= {"exact_percent": exact_percent, "words": words}
    return environment


def render(template: str, **shown: object) -> str:
    """Returns the page that a template, such as ``reports/card.html`` of this package, makes of what its names stand for."""
    return environment().get_template(template).render(shown)


def policy(trusted: Iterable[str], *, inline_styles: bool = False, answers: bool = False) -> str:
    """Returns a Content-Security-Policy by which the scripts and styles of `trusted` parts of the page may run.

    None of those may hold text from elsewhere unescaped. With `inline_styles` styles may be set anywhere, which Plotly does;
    with `answers` the page may ask the server that it came from.
    """
    parts = list(trusted)
    scripts = [_hash(text) for part in parts for text in _SCRIPT.findall(part)]
    styles = ["'unsafe-inline'"] if inline_styles else [_hash(text) for part in parts for text in _STYLE.findall(part)]
    allowed = {"script-src": scripts, "style-src": styles, "connect-src": ["'self'"] if answers else []}
    rules = [f"{kind} {' '.join(sources)}" for kind, sources in allowed.items() if sources]
    return "; ".join(["default-src 'none'", *rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def chart(figure: "go.Figure") -> Markup:
    """Returns a figure that draws itself when the page opens, with what its ``layout.meta`` says as its text.

    Plotly writes ``<`` in its data as an escape of JSON, so a chart's only script is the one that draws it. What a text in the
    figure has of Plotly's own markup must be escaped by whoever puts it there.
    """
    config = {"displayModeBar": False, "responsive": True}
    said, figure.layout.meta = figure.layout.meta, None
    drawn = Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
    return Markup('<div role="img" aria-label="{}">{}</div>').format(said, drawn)


def jpeg(image: NDArray[np.uint8], quality: int) -> str:
    """Returns an image, uint8 (h, w, 3) RGB, as a ``data:`` address."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def number(value: float | None) -> str:
    """Returns a score that may not be defined."""
    return "not defined" if value is None else f"{value:.3f}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
