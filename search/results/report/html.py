"""What is a page made of? One template with Plotly inside, and the pieces that go into it."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from search.text import LONGEST, plain

_CHART = "<script data-chart"


def page(title: str, parts: Iterable[str]) -> str:
    """Returns a whole page that needs no network; `title` is plain text, `parts` are its sections, as HTML."""
    body = "\n".join(parts)
    # Whoever wrote a text on the page cannot know the hash of all that is on it, and so no script of theirs runs.
    nonce = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    plotly = get_plotlyjs()
    digest = base64.b64encode(hashlib.sha256(plotly.encode()).digest()).decode()
    sections = body.replace(_CHART, f'{_CHART} nonce="{nonce}"')
    whole = _PAGE.substitute(title=inert(title), plotly=plotly, digest=digest, nonce=nonce, sections=sections)
    return whole.encode("utf-8", "backslashreplace").decode()


def inert(written: object, longest: int = LONGEST) -> str:
    """Returns text that anybody may have written as HTML, and for Plotly, which takes some of it as markup too."""
    return escape(plain(written, longest), quote=False)


def section(title: str, text: str, body: str = "") -> str:
    """Returns a section; all three are HTML."""
    return f"<section><h2>{title}</h2>{f'<p>{text}</p>' if text else ''}{body}</section>"


def chart(figure: go.Figure) -> str:
    """Returns a figure that draws itself when the page opens."""
    config = {"displayModeBar": False, "responsive": True}
    drawn: str = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return drawn.replace("<script", _CHART)  # what is in the figure has no < of its own any more


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of plain text."""
    head = "".join(f"<th>{_cell(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(shown)}</td>" for shown in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(shown: str) -> str:
    return "<br>".join(map(inert, shown.split("\n")))


def cards(shown: Iterable[tuple[str, str]]) -> str:
    """Returns figures that catch the eye, each with what it counts; plain text."""
    each = (f'<div class="card"><b>{inert(figure)}</b><span>{inert(what)}</span></div>' for figure, what in shown)
    return f'<div class="cards">{"".join(each)}</div>'


def time_unit(seconds: float) -> tuple[str, float]:
    """Returns the unit in which so many seconds are best read, and its length in seconds."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return unit, length
    return "seconds", 1.0


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-$digest' 'nonce-$nonce'; \
style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1160px; margin: 0 auto; padding: 16px 24px 48px; }
h1 { font-size: 26px; margin: 8px 0; } h2 { font-size: 20px; margin: 36px 0 4px; }
p { margin: 4px 0 10px; color: #4a525c; max-width: 90ch; } p b { color: #1b1f24; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 18px 4px 0; vertical-align: top; border-bottom: 1px solid #e3e6ea; max-width: 70ch; }
th { color: #4a525c; font-weight: 600; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 12px 0; }
.card { background: #f5f7f9; border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 25px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: #4a525c; font-size: 13px; line-height: 1.35; display: block; overflow-wrap: anywhere; }
details { margin: 6px 0; } summary { cursor: pointer; }
pre { overflow-x: auto; background: #f5f7f9; padding: 10px; font-size: 12px; }
</style>
<script>$plotly</script>
</head>
<body>
<h1>$title</h1>
$sections
</body>
</html>
""")
