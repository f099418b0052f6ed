"""How is text from anywhere put into a page so that it stays text, and the page loads nothing from elsewhere?

Two locks. Every text is escaped. And every page carries a Content-Security-Policy that forbids all but its own styles, its own
scripts (by their hashes) and pictures that lie inside it: what slips through the first lock is neither run nor fetched.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape

_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)


def policy(trusted: Iterable[str], *, inline_styles: bool = False, answers: bool = False) -> str:
    """Returns a Content-Security-Policy.

    Args:
        trusted: Parts of the page whose scripts and styles may run: none of them holds text from elsewhere unescaped.
        inline_styles: Whether styles may be set anywhere, which Plotly does.
        answers: Whether the page may ask the server that it came from.
    """
    parts = list(trusted)
    scripts = [_hash(text) for part in parts for text in _SCRIPT.findall(part)]
    styles = ["'unsafe-inline'"] if inline_styles else [_hash(text) for part in parts for text in _STYLE.findall(part)]
    allowed = {"script-src": scripts, "style-src": styles, "connect-src": ["'self'"] if answers else []}
    rules = [f"{kind} {' '.join(sources)}" for kind, sources in allowed.items() if sources]
    return "; ".join(["default-src 'none'", *rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def policy_tag(trusted: Iterable[str], *, inline_styles: bool = False, answers: bool = False) -> str:
    """Returns a policy as an element of a page's head, before anything that it rules; see `policy`."""
    content = policy(trusted, inline_styles=inline_styles, answers=answers)
    return f'<meta http-equiv="Content-Security-Policy" content="{escape(content)}">'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of texts; a header of empty texts is left out."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    heading = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    return f'<div class="scroll"><table>{heading}<tbody>{body}</tbody></table></div>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
