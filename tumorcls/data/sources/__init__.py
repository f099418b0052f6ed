"""Which data set a folder or a table is: one module a layout; a folder's layout is found by the names inside it."""

import contextlib
import os
from pathlib import Path

from tumorcls.data.image_files import list_folder
from tumorcls.data.sources import br35h, brisc, figshare, nickparvar, plain, sartaj
from tumorcls.data.sources.base import Layout, Source
from tumorcls.data.sources.table import is_table, open_table
from tumorcls.errors import DataError, UnknownLayoutError, shown

LAYOUTS: tuple[Layout, ...] = (br35h.LAYOUT, brisc.LAYOUT, sartaj.LAYOUT, nickparvar.LAYOUT, plain.LAYOUT, figshare.LAYOUT)
"""Tried in this order: the more particular first."""

PUBLIC = frozenset(layout.name for layout in LAYOUTS if layout is not plain.LAYOUT)
"""Names of the public sets."""

PHANTOMS = "phantoms"
"""``phantoms:N`` or ``phantoms:N:SEED`` in the place of a folder stands for N generated images."""

_MOST_LOOKED_INTO = 50
_MOST_NAMED = 5


def find_source(folder: Path) -> Source:
    """Finds a folder's layout.

    Raises:
        UnknownLayoutError: It has no known layout; the message lists those, or folders in it that have one.
        DataError: There is no such folder, or it cannot be read.
    """
    where = shown(folder)
    if not os.path.isdir(folder):
        below = os.path.abspath(folder).startswith(os.path.abspath(os.environ.get("TUMORCLS_DATA") or "data") + os.sep)
        named = "whether TUMORCLS_DATA names the folder above it (a quoted ~ is not expanded)"
        remedy = named if below else "see `tumorcls fetch --help`"
        raise DataError(f"{where}: a data folder must exist; got none there. Check the path, or {remedy}.")
    if layout := _layout_of(folder):
        return Source(layout.name if layout.known(folder) else shown(folder.resolve().name), folder, layout)
    if inside := _known_inside(folder):
        rule = "a data folder must have a known layout; got something else"
        raise UnknownLayoutError(f"{where}: {rule}. It holds {', '.join(inside)}: name those instead.")
    known = "; ".join(f"{layout.name} {layout.description}" for layout in LAYOUTS)
    raise UnknownLayoutError(
        f"{where}: a data folder must have a known layout ({known}); got something else. Name its folders so."
    )


def _layout_of(folder: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.matches(folder)), None)


def _known_inside(folder: Path) -> list[str]:
    """Returns the names of the first folders in one that have a known layout: whoever named it is one folder too high."""
    found = []
    for child in list_folder(folder).folders[:_MOST_LOOKED_INTO]:
        with contextlib.suppress(DataError):  # what is closed to us
            if _layout_of(child):
                found.append(shown(child.name))
    return found[:_MOST_NAMED]


def open_source(spec: str | Path, cache_dir: Path) -> Source:
    """Finds the source of a folder or a table, or of generated phantoms (see `PHANTOMS`), written below `cache_dir` once.

    Raises:
        DataError: There is none, or a folder has no known layout.
    """
    if isinstance(spec, str) and spec.startswith(f"{PHANTOMS}:"):
        from tumorcls.data.phantom import materialise

        source = find_source(materialise(spec, cache_dir))
        return Source(PHANTOMS, source.folder, source.layout)
    path = Path(spec)
    if is_table(path) and not os.path.isdir(path):
        return open_table(path)
    if os.path.isfile(path):
        raise DataError(
            f"{shown(path)}: data must be a folder or a table (.csv, .parquet); got another file. Save a table as CSV."
        )
    return find_source(path)
