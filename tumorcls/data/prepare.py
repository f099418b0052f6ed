"""Folders in, parts out: scan, group copies, split. The one call that training, evaluation and audit share."""

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorcls import activity
from tumorcls.data.cells import to_cell
from tumorcls.data.dedup.groups import Groups, find_groups
from tumorcls.data.labels import BINARY_CLASSES, CLASSES
from tumorcls.data.manifest import Manifest, replace_csv, scan
from tumorcls.data.parts import assign, class_index
from tumorcls.data.slices import Which
from tumorcls.data.sources.table import COLUMNS
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError, reason
from tumorcls.files import replace_text

_PACKAGES = ("numpy", "opencv-python-headless", "imagehash", "pillow", "scipy")


@dataclass(frozen=True)
class PreparedData:
    """Images, and the part each belongs to.

    Attributes:
        manifest: The n images.
        parts: (n,) names: "train", "validation", "test" or "left_out".
        groups: (n,) int64; images with equal numbers are copies or show one patient, and are in one part (or left out).
        split_sha256: Hash of the manifest's hash and of `parts` and `groups`.
        copies: Which images are copies of one another, more finely than `groups`.
        moved_out: How many images are left out because a part that a data set gives holds a copy of them, or their patient.
        classes: Class names in the order of their indices.
    """

    manifest: Manifest
    parts: npt.NDArray[np.str_]
    groups: npt.NDArray[np.int64]
    split_sha256: str
    copies: Groups
    moved_out: int = 0
    classes: tuple[str, ...] = CLASSES

    def indices(self, part: str) -> npt.NDArray[np.int64]:
        """Returns where the images of a part stand in the manifest, ascending."""
        return np.flatnonzero(self.parts == part).astype(np.int64)

    def labels(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the class index of the images at these places of the manifest."""
        names = (self.manifest.entries[i].label for i in indices)
        return np.array([class_index(name, self.classes) for name in names], dtype=np.int64)


def prepare(folders: Sequence[str | Path], settings: SplitSettings, cache_dir: Path, slices: Which = "middle") -> PreparedData:
    """Scans, de-duplicates and splits; when nothing on disk has changed, no image file is opened.

    Args:
        folders: Data folders of known layouts, tables, or ``phantoms:N[:SEED]``; their order does not matter.
        settings: How to split.
        cache_dir: Where results are kept between calls.
        slices: Which ones of a volume are used, where a table names none.

    Raises:
        DataError: A folder has no known layout, no image is readable, or a part would be empty.
    """
    manifest = scan(folders, cache_dir, slices)
    activity.tell("looking for copies among the images")
    groups = find_groups(manifest, cache_dir, flips=settings.flips, quarter_turns=settings.quarter_turns)
    return assign_parts(manifest, groups, settings)


def assign_parts(manifest: Manifest, groups: Groups, settings: SplitSettings) -> PreparedData:
    """Splits a grouped manifest; see `tumorcls.data.parts.assign`."""
    parts, moved_out = assign(manifest.entries, groups, settings)
    digest = hashlib.sha256(manifest.sha256.encode())
    digest.update("\n".join(parts).encode() + groups.split.astype("<i8").tobytes())
    classes = BINARY_CLASSES if settings.binary else CLASSES
    return PreparedData(manifest, parts, groups.split, digest.hexdigest(), groups, moved_out, classes)


def write_split_files(data: PreparedData, settings: SplitSettings, folder: Path) -> None:
    """Writes ``manifest.csv``, ``split.csv`` (source, name, part, group) and ``summary.json``, each replaced as a whole.

    ``images.csv`` is the split as a table that is a source itself (see `tumorcls.data.sources.table`).

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.manifest.write(folder / "manifest.csv")
        rows = zip(data.manifest.entries, data.parts.tolist(), data.groups.tolist(), strict=True)
        split = ((entry.source, entry.title, part, group) for entry, part, group in rows)
        replace_csv(folder / "split.csv", ("source", "name", "part", "group"), split)
        _write_images(data, folder)
        replace_text(folder / "summary.json", json.dumps(_summary(data, settings), indent=2) + "\n")
    except OSError as error:
        raise DataError(f"{folder}: must be writable; got {reason(error)}. Choose another with --output.") from error


def _write_images(data: PreparedData, folder: Path) -> None:
    # Where there is no volume, the table is as short as can be.
    columns = COLUMNS if any(entry.slice_number for entry in data.manifest.entries) else COLUMNS[:-1]
    place = os.path.realpath(folder)
    entries, parts = data.manifest.entries, data.parts.tolist()
    # Of a file that several sources have, a table takes one row: one that is used, if any, and says who is shown.
    best = sorted(range(len(entries)), key=lambda i: (parts[i] != "left_out", bool(entries[i].patient)))
    rows = []
    for i in sorted({(os.path.abspath(entries[i].path), entries[i].slice_number): i for i in best}.values()):
        entry = entries[i]
        path = os.path.relpath(os.path.abspath(entry.path), place)
        path = path if to_cell(path) == path else os.path.join(".", path)  # the same file, for whoever reads the table
        values = (path, entry.label, entry.patient, parts[i], entry.source, entry.plane, entry.slice_number)
        rows.append(values[: len(columns)])
    replace_csv(folder / "images.csv", columns, rows)


def _summary(data: PreparedData, settings: SplitSettings) -> dict[str, object]:
    return {
        "images": len(data.manifest.entries),
        "parts": dict(Counter(data.parts.tolist())),
        "manifest_sha256": data.manifest.sha256,
        "split_sha256": data.split_sha256,
        "settings": settings.model_dump(),
        "left_out": [asdict(one) for one in data.manifest.left_out],
        "unreadable": [bad.reason for bad in data.manifest.unreadable],
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
    }
