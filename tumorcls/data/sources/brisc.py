"""Kaggle ``briscdataset/brisc2025`` (BRISC 2025): 6,000 slices in three planes, T1 with contrast agent.

``classification_task/{train,test}/{glioma,meningioma,no_tumor,pituitary}/brisc2025_train_00001_gl_ax_t1.jpg``: the last parts
of a name are class, plane and sequence. ``segmentation_task/`` repeats images beside their masks and is passed over. The slices
were collected from public sets, so expect many copies of theirs.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tumorcls.data.image_files import list_folder
from tumorcls.data.sources.base import Found, Layout, Plane, Row, split_of_folder, split_rows
from tumorcls.errors import DataError, shown

_TASK = "classification_task"
_NAME = re.compile(r"brisc2025_(?:train|test)_\d+_(?P<label>[a-z]+)_(?P<plane>[a-z]+)_", re.IGNORECASE)
_LABELS = {"gl": "glioma", "me": "meningioma", "nt": "no_tumor", "no": "no_tumor", "pi": "pituitary"}
_PLANES: dict[str, Plane] = {"ax": "axial", "co": "coronal", "sa": "sagittal"}


def _root(folder: Path) -> Path:
    """Returns the folder that holds train and test: this one, or one inside it."""
    task = folder / _TASK
    return task if task.is_dir() else folder


def _named(folder: Path) -> Iterator[bool]:
    """Yields of each folder of a class whether its first file has a name as the set gives it."""
    for split in list_folder(folder).folders:
        if split_of_folder(split.name):
            for child in list_folder(split).folders:
                yield any(_NAME.match(path.name) for path in list_folder(child).images[:1])


def _matches(folder: Path) -> bool:
    return any(_named(_root(folder)))


def _rows(folder: Path, name: str) -> Found:
    root = _root(folder)
    if root != folder:
        listing = list_folder(folder)
        yield from (path for path in (*listing.folders, *listing.files) if path != root)
    for row in split_rows(root, name):
        yield _with_plane(row) if isinstance(row, Row) else row


def _with_plane(row: Row) -> Row:
    """Adds what the file's name says; a file of another name has no plane.

    Raises:
        DataError: The name says another class than the folder.
    """
    parts = _NAME.match(row.path.name)
    if parts is None:
        return row
    label = _LABELS.get(parts["label"].lower(), row.label)
    if label != row.label:
        got = f"{label} in the folder of {row.label}"
        raise DataError(f"{shown(row.path)}: must lie in the folder of the class that its name says; got {got}. Move it.")
    return replace(row, plane=_PLANES.get(parts["plane"].lower()))


LAYOUT = Layout("brisc", f"{_TASK}/{{train,test}}/{{glioma,meningioma,no_tumor,pituitary}}/brisc2025_*", _matches, _rows)
