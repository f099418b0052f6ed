"""What is a page made of? One template with Plotly inside, and the pieces that go into it."""

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


def page(title: str, sections: Iterable[str]) -> str:
    """Returns a whole page that needs no network; `title` is plain text, `sections` are HTML."""
    return _PAGE.substitute(title=escape(title), plotly=get_plotlyjs(), sections="\n".join(sections))


def section(title: str, text: str, body: str = "") -> str:
    """Returns a section; all three are HTML."""
    return f"<section><h2>{title}</h2>{f'<p>{text}</p>' if text else ''}{body}</section>"


def chart(figure: go.Figure) -> str:
    """Returns a figure that draws itself when the page opens."""
    config = {"displayModeBar": False, "responsive": True}
    drawn: str = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return drawn


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of plain text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cards(shown: Iterable[tuple[str, str]]) -> str:
    """Returns figures that catch the eye, each with what it counts; plain text."""
    each = (f'<div class="card"><b>{escape(figure)}</b><span>{escape(text)}</span></div>' for figure, text in shown)
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
