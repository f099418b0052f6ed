"""Shows an audit as one self-contained HTML page with pictures: no script, no file beside it, no network."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tumorcls.data.audit import Audit
from tumorcls.data.images import fit_square, read_image
from tumorcls.data.labels import counted
from tumorcls.data.manifest import Entry
from tumorcls.data.prepare import PreparedData
from tumorcls.data.twins import list_twins
from tumorcls.files import write_whole
from tumorcls.reports.page import jpeg, render

_SIDE, _QUALITY = 112, 72  # of a picture, in pixels; of its JPEG
_PER_CLASS, _PER_CONFLICT, _CONFLICTS, _PER_GROUP, _GROUPS, _TWINS = 18, 8, 24, 8, 6, 8

Group = tuple[str, list[tuple[Entry, str]]]
"""A heading, and pictures side by side: what each is, and its address."""


def write_audit(audit: Audit, data: PreparedData, path: Path) -> None:
    """Writes the page, to a temporary file that is then moved.

    Raises:
        DataError: The page cannot be written, or an image has vanished since the scan.
    """
    overview, *tables = audit.tables()
    page = render(
        "reports/audit.html",
        scripts=[],
        overview=overview,
        tables=tables,
        pictures={"copies": _largest_groups(data), "twins": _twins(data), "conflicts": _conflicts(data, audit)},
        examples=_examples(data),
        sources=sorted({entry.source for entry in data.manifest.entries}),
        manifest=audit.manifest_sha256,
        split=audit.split_sha256,
    )
    write_whole(path, page)


def _conflicts(data: PreparedData, audit: Audit) -> Iterator[Group]:
    """Yields groups, with as many images of each label as there is room for."""
    for conflict in audit.conflicts[:_CONFLICTS]:
        by_label = [[i for i in conflict.members if data.manifest.entries[i].label == label] for label in conflict.labels]
        room = max(1, _PER_CONFLICT // len(by_label))
        title = f"Group {conflict.group}: {' or '.join(conflict.labels)}, {counted(len(conflict.members), 'image')}"
        yield title, _pictures(data, (i for members in by_label for i in members[:room]))


def _largest_groups(data: PreparedData) -> Iterator[Group]:
    sizes = np.bincount(data.copies.images)
    for group in np.argsort(-sizes, kind="stable")[:_GROUPS]:
        if sizes[group] < 2:
            return
        members = np.flatnonzero(data.copies.images == group)
        # One of each set of exact copies, spread over the group: these are what its grouping rests on.
        distinct = members[np.unique(data.copies.pixels[members], return_index=True)[1]]
        chosen = distinct[np.linspace(0, len(distinct) - 1, min(_PER_GROUP, len(distinct))).round().astype(int)]
        title = f"Group {group}: {counted(len(members), 'image')}, {counted(len(distinct), 'distinct picture')}"
        yield title, _pictures(data, chosen.tolist())


def _twins(data: PreparedData) -> Iterator[Group]:
    pairs = list_twins(data.manifest.entries, data.copies)
    for pair in pairs[:: max(1, len(pairs) // _TWINS)][:_TWINS]:
        yield "", _pictures(data, (pair.held_out, pair.copy))


def _examples(data: PreparedData) -> Iterator[Group]:
    """Yields random images of each class, one of a group only."""
    order = np.random.default_rng(0).permutation(len(data.copies.images))
    one_of_each = order[np.sort(np.unique(data.copies.images[order], return_index=True)[1])].tolist()
    for label in sorted({entry.label for entry in data.manifest.entries}):
        yield label, _pictures(data, [i for i in one_of_each if data.manifest.entries[i].label == label][:_PER_CLASS])


def _pictures(data: PreparedData, indices: Iterable[int]) -> list[tuple[Entry, str]]:
    entries = [data.manifest.entries[i] for i in indices]
    return [(entry, jpeg(fit_square(read_image(entry.path, entry.slice_number), _SIDE), _QUALITY)) for entry in entries]
