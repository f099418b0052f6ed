"""Folders in, leak-free parts out: scan, de-duplicate, split. The one call that training, evaluation and audit share."""

import csv
import hashlib
import io
import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorcls import activity
from tumorcls.data.dedup.groups import Groups, find_groups
from tumorcls.data.labels import BINARY_CLASSES, CLASSES
from tumorcls.data.manifest import Entry, Manifest, scan
from tumorcls.data.sources.base import UNTYPED_TUMOR
from tumorcls.data.split import SplitSettings, split_groups
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
        moved_out: How many images are left out because they have a copy in the official test part; 0 unless it is honoured.
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


def class_index(label: str, classes: tuple[str, ...]) -> int:
    """Returns a label's index, where any tumour is ``tumor`` for a binary study."""
    if classes == BINARY_CLASSES and label != "no_tumor":
        label = UNTYPED_TUMOR
    return classes.index(label)


def prepare(folders: Sequence[str | Path], settings: SplitSettings, cache_dir: Path) -> PreparedData:
    """Scans, de-duplicates and splits; when nothing on disk has changed, no image file is opened.

    Args:
        folders: Data folders of known layouts, or ``phantoms:N[:SEED]``; their order does not matter.
        settings: How to split.
        cache_dir: Where results are kept between calls.

    Raises:
        DataError: A folder has no known layout, no image is readable, or a part would be empty.
    """
    manifest = scan(folders, cache_dir)
    activity.tell("looking for copies among the images")
    groups = find_groups(manifest, cache_dir, flips=settings.flips, quarter_turns=settings.quarter_turns)
    return assign_parts(manifest, groups, settings)


def assign_parts(manifest: Manifest, groups: Groups, settings: SplitSettings) -> PreparedData:
    """Splits a grouped manifest.

    Raises:
        DataError: A part with a share above 0 would be empty.
    """
    entries = manifest.entries
    parts = np.full(len(entries), "left_out", dtype="<U10")
    free = _usable(entries, groups, settings)
    fractions = {"train": 1 - settings.validation - settings.test, "validation": settings.validation, "test": settings.test}
    moved_out = 0
    if settings.official_test:
        official = np.array([entry.official_split == "test" for entry in entries])
        fractions = {"train": 1 - settings.validation, "validation": settings.validation}
        parts[official & _has_class(entries, settings)] = "test"
        twins = np.isin(groups.split, groups.split[official]) & ~official
        moved_out = int((free & twins).sum())
        free &= ~(twins | official)
    strata = [(entries[i].label, entries[i].folder) for i in np.flatnonzero(free)]
    if free.any():
        parts[free] = split_groups(groups.split[free], strata, fractions, settings.seed)
    for name in [*fractions, *(["test"] if settings.official_test else [])]:
        if fractions.get(name, 1) > 0 and not (parts == name).any():
            raise DataError(
                f"split: {name} must get at least one image; got none of {len(entries)}. Add images or change the shares."
            )
    digest = hashlib.sha256(manifest.sha256.encode())
    digest.update("\n".join(parts).encode() + groups.split.astype("<i8").tobytes())
    classes = BINARY_CLASSES if settings.binary else CLASSES
    return PreparedData(manifest, parts, groups.split, digest.hexdigest(), groups, moved_out, classes)


def _has_class(entries: tuple[Entry, ...], settings: SplitSettings) -> npt.NDArray[np.bool_]:
    return np.array([settings.binary or entry.label != UNTYPED_TUMOR for entry in entries])


def _usable(entries: tuple[Entry, ...], groups: Groups, settings: SplitSettings) -> npt.NDArray[np.bool_]:
    """Marks the images that policies let into training, validation or a test part of our own."""
    usable = _has_class(entries, settings)
    if settings.conflicts == "leave-out":
        usable &= ~np.isin(groups.images, conflicting_groups(entries, groups.images, settings.binary))
    sizes = np.bincount(groups.images, minlength=len(entries))[groups.images]
    if settings.duplicates == "drop":
        usable &= sizes == 1
    elif settings.duplicates == "keep-best":
        usable &= _best_of_group(entries, groups.images, usable)
    return usable


def conflicting_groups(entries: tuple[Entry, ...], groups: npt.NDArray[np.int64], binary: bool = False) -> list[int]:
    """Returns the groups whose members cannot all be right. An untyped tumour agrees with every type of tumour."""
    labels: dict[int, set[str]] = {}
    for entry, group in zip(entries, groups.tolist(), strict=True):
        name = BINARY_CLASSES[class_index(entry.label, BINARY_CLASSES)] if binary else entry.label
        labels.setdefault(group, set()).add(name)
    return [
        group for group, names in labels.items() if len(names - {UNTYPED_TUMOR}) > 1 or names == {"no_tumor", UNTYPED_TUMOR}
    ]


def _best_of_group(
    entries: tuple[Entry, ...], groups: npt.NDArray[np.int64], usable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Marks the usable image with most pixels of each group; among equals the first of the manifest."""
    best: dict[int, int] = {}
    for i in sorted(np.flatnonzero(usable).tolist(), key=lambda i: -entries[i].width * entries[i].height):
        best.setdefault(int(groups[i]), i)
    marked = np.zeros(len(entries), np.bool_)
    marked[list(best.values())] = True
    return marked


def write_split_files(data: PreparedData, settings: SplitSettings, folder: Path) -> None:
    """Writes ``manifest.csv``, ``split.csv`` (source, name, part, group) and ``summary.json``, each replaced as a whole.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.manifest.write(folder / "manifest.csv")
        replace_text(folder / "split.csv", _split_table(data))
        replace_text(folder / "summary.json", json.dumps(_summary(data, settings), indent=2) + "\n")
    except OSError as error:
        raise DataError(f"{folder}: must be writable; got {reason(error)}. Choose another with --out.") from error


def _split_table(data: PreparedData) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "name", "part", "group"])
    for entry, part, group in zip(data.manifest.entries, data.parts.tolist(), data.groups.tolist(), strict=True):
        writer.writerow([entry.source, entry.name, part, group])
    return text.getvalue()


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
