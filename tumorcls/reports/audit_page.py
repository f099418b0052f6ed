"""How does an audit look as one page? Self-contained HTML with pictures: no script, no file beside it, no network."""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from tumorcls.data.audit import Audit, Conflict, Table
from tumorcls.data.images import fit_square, read_image
from tumorcls.data.prepare import PreparedData
from tumorcls.files import write_whole
from tumorcls.reports.page import policy_tag

_SIDE = 112  # of a picture, in pixels
_QUALITY = 72
_PER_CLASS, _PER_CONFLICT, _CONFLICTS, _PER_GROUP, _GROUPS, _TWINS = 18, 8, 24, 8, 6, 8

_STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #e2e6eb; --paper: #fff; --wash: #f5f7f9; --mark: #2f6f8f; --warn: #a4402c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 40px 28px 80px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 27px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 19px; margin: 46px 0 2px; }
h3 { font-size: 14px; margin: 22px 0 6px; font-weight: 600; } p { margin: 4px 0 12px; color: var(--soft); max-width: 78ch; }
.cards { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; margin: 26px 0 8px; }
.card { background: var(--wash); border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 25px; line-height: 1.25; }
.card span { color: var(--soft); font-size: 13px; line-height: 1.35; display: block; }
.bad b { color: var(--warn); } .good b { color: var(--mark); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 6px 0 4px; }
th, td { padding: 5px 22px 5px 0; text-align: left; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); font-size: 13px; } .n { text-align: right; }
tr.sum td { font-weight: 600; border-bottom: 0; }
.strip { display: flex; flex-wrap: wrap; gap: 6px; } figure { margin: 0; width: 112px; }
img { width: 112px; height: 112px; display: block; background: #000; border-radius: 4px; }
figcaption { font-size: 11px; line-height: 1.3; color: var(--soft); overflow-wrap: anywhere; padding: 3px 1px 5px; }
figcaption b { color: var(--ink); font-weight: 600; } .pairs { display: flex; flex-wrap: wrap; gap: 14px 22px; }
footer { margin-top: 56px; color: var(--soft); font-size: 13px; }
code { font-family: ui-monospace, "Liberation Mono", monospace; font-size: .92em; }
"""


def write_page(audit: Audit, data: PreparedData, path: Path) -> None:
    """Writes the page, to a temporary file that is then moved.

    Raises:
        DataError: The page cannot be written, or an image has vanished since the scan.
    """
    write_whole(path, render(audit, data))


def render(audit: Audit, data: PreparedData) -> str:
    """Returns the page as HTML."""
    overview, *tables = audit.tables()
    pictures = {
        "Copies": _largest_groups(data),
        "Twins across the official split": _twins(data),
        "Label conflicts": "".join(_conflict(data, conflict) for conflict in audit.conflicts[:_CONFLICTS]),
    }
    sections = "".join(_section(table, pictures.get(table.title, "")) for table in tables)
    style = f"<style>{_STYLE}</style>"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{policy_tag([style])}<title>Data audit</title>'
        f'<meta name="viewport" content="width=device-width">{style}</head><body>'
        f"<h1>Data audit</h1><p>{html.escape(overview.note)} For research and education only, never for diagnosis.</p>"
        f"{_cards(overview)}{sections}{_class_sheets(data)}"
        f"<footer>Manifest <code>{audit.manifest_sha256}</code><br>Split <code>{audit.split_sha256}</code></footer>"
        "</body></html>"
    )


def _cards(overview: Table) -> str:
    neutral = ("images", "different pictures")  # all others count what should not be
    kinds = {what: "" if what in neutral else "good" if figure in ("0", "0.0%") else "bad" for what, figure in overview.rows}
    cards = (
        f'<div class="card {kinds[what]}"><b>{html.escape(figure)}</b><span>{html.escape(what)}</span></div>'
        for what, figure in overview.rows
        if "sha256" not in what  # whole in the footer
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _section(table: Table, pictures: str) -> str:
    if not table.rows:
        return f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)} There are none.</p>"
    numeric = [all(row[k].replace(",", "").isdigit() for row in table.rows) for k in range(len(table.header))]
    body = _row("th", table.header, numeric)
    for row in table.rows:
        body += _row("td", row, numeric)
    return f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p><table>{body}</table>{pictures}"


def _row(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    inner = (
        f"<{tag}{' class=n' if right else ''}>{html.escape(cell)}</{tag}>" for cell, right in zip(cells, numeric, strict=True)
    )
    return f"<tr{' class=sum' if cells[0] == 'all' else ''}>{''.join(inner)}</tr>"


def _conflict(data: PreparedData, conflict: Conflict) -> str:
    """Shows a group side by side, as many of each label as there is room for."""
    by_label = [[i for i in conflict.members if data.manifest.entries[i].label == label] for label in conflict.labels]
    room = max(1, _PER_CONFLICT // len(by_label))
    chosen = [i for members in by_label for i in members[:room]]
    title = " or ".join(conflict.labels)
    return f"<h3>Group {conflict.group}: {html.escape(title)}, {len(conflict.members)} images</h3>{_strip(data, chosen)}"


def _largest_groups(data: PreparedData) -> str:
    sizes = np.bincount(data.copies.images)
    largest = [int(group) for group in np.argsort(-sizes, kind="stable")[:_GROUPS] if sizes[group] > 1]
    strips = ""
    for group in largest:
        members = np.flatnonzero(data.copies.images == group)
        # One of each set of exact copies, spread over the group: these are what its grouping rests on.
        distinct = members[np.unique(data.copies.pixels[members], return_index=True)[1]]
        chosen = distinct[np.linspace(0, len(distinct) - 1, min(_PER_GROUP, len(distinct))).round().astype(int)]
        strips += (
            f"<h3>Group {group}: {len(members)} images, {len(distinct)} of them different</h3>{_strip(data, chosen.tolist())}"
        )
    return strips


def _twins(data: PreparedData) -> str:
    entries = data.manifest.entries
    train: dict[int, int] = {}
    for i, entry in enumerate(entries):
        if entry.official_split == "train":
            train.setdefault(int(data.copies.images[i]), i)
    tests = (i for i, entry in enumerate(entries) if entry.official_split == "test")
    pairs = [(i, train[group]) for i in tests if (group := int(data.copies.images[i])) in train]
    chosen = pairs[:: max(1, len(pairs) // _TWINS)][:_TWINS]
    return '<div class="pairs">' + "".join(_strip(data, pair) for pair in chosen) + "</div>"


def _class_sheets(data: PreparedData) -> str:
    """Shows random examples of each class, one of a group only."""
    order = np.random.default_rng(0).permutation(len(data.copies.images))
    one_of_each = order[np.sort(np.unique(data.copies.images[order], return_index=True)[1])].tolist()
    sheets = "<h2>Examples of each class</h2><p>Drawn at random, each from another group.</p>"
    for label in sorted({entry.label for entry in data.manifest.entries}):
        chosen = [i for i in one_of_each if data.manifest.entries[i].label == label][:_PER_CLASS]
        sheets += f"<h3>{html.escape(label)}</h3>{_strip(data, chosen, names=False)}"
    return sheets


def _strip(data: PreparedData, indices: Sequence[int], *, names: bool = True) -> str:
    return f'<div class="strip">{"".join(_figures(data, indices, names))}</div>'


def _figures(data: PreparedData, indices: Sequence[int], names: bool) -> Iterable[str]:
    for i in indices:
        entry = data.manifest.entries[i]
        name = f"<b>{html.escape(entry.label)}</b><br>{html.escape(entry.source)}/{html.escape(entry.name)}"
        caption = name if names else html.escape(entry.source)
        picture = f'<img alt="{html.escape(entry.label)}" src="{_picture(entry.path)}">'
        yield f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _picture(path: Path) -> str:
    small = fit_square(read_image(path), _SIDE)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
