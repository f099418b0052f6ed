"""Turns a template of this folder and what it shows into one page that needs no network, in which foreign text stays text.

Every value that a template prints is made one short line without control characters (`search.text.plain`) and escaped by Jinja;
``|e`` only escapes. What slips through is neither run nor fetched: a page's Content-Security-Policy allows Plotly, by its hash,
and the scripts of the page's own charts, by a nonce that nobody knew who wrote a text on it.
"""

import base64
import hashlib
import secrets
from datetime import date
from functools import cache
from html import escape

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search import __version__
from search.text import clock, plain

_LABEL, _LINE = 40, 21
"""Characters of a name or a choice on an axis, and in a line of one beside a chart."""


def page(template: str, **shown: object) -> str:
    """Returns the page that a template of this folder makes of what it is to show."""
    plotly = get_plotlyjs()
    digest = base64.b64encode(hashlib.sha256(plotly.encode()).digest()).decode()
    locks = {"plotly": Markup(plotly), "digest": digest, "nonce": secrets.token_hex(16)}
    footer = {"today": date.today().isoformat(), "version": __version__}
    return _environment().get_template(template).render(shown | locks | footer)


def inert(written: object, longest: int = _LABEL) -> str:
    """Returns text that anybody may have written, as Plotly shows it literally: it takes some of HTML for markup.

    Only so many of its characters are shown, by default what an axis has room for.
    """
    return escape(plain(written, longest), quote=False)


def stacked(written: object) -> str:
    """Returns the same, in lines that leave the chart beside them room on a telephone."""
    shown = plain(written, _LABEL)
    return "<br>".join(escape(shown[at : at + _LINE], quote=False) for at in range(0, len(shown), _LINE))


def time_unit(seconds: float) -> tuple[str, float]:
    """Returns the unit in which so many seconds are best read, and its length in seconds."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return unit, length
    return "seconds", 1.0


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("search.results.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else plain(value),
    )
    environment.filters |= {"chart": _chart, "clock": clock, "percent": "{:.0%}".format, "time": _time}
    return environment


@pass_context
def _chart(context: Context, figure: go.Figure) -> Markup:
    """Returns a figure that draws itself when the page opens, with the sentence that stands for it (`style`) as its text.

    Plotly leaves no ``<`` in what a figure says.
    """
    config = {"displayModeBar": False, "responsive": True}
    said, figure.layout.meta = figure.layout.meta, None
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    locked = Markup(drawn.replace("<script", f'<script nonce="{context["nonce"]}"'))
    return Markup('<div role="img" aria-label="{}">{}</div>').format(said, locked)


def _time(seconds: float) -> str:
    unit, length = time_unit(seconds)
    return f"{seconds / length:.0f} {unit}" if length == 1 else f"{seconds / length:.1f} {unit}"
