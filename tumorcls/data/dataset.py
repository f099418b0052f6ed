"""The images and labels of a config's parts, decoded once and shared by all processes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.cache.arrays import ArrayCache, Rows, content_key
from tumorcls.data.decoding import PIXELS_VERSION
from tumorcls.data.fingerprint import hash_pixels
from tumorcls.data.images import fit_square, read_image
from tumorcls.data.manifest import Entry
from tumorcls.data.parts import class_index
from tumorcls.data.prepare import PreparedData
from tumorcls.data.slices import Pixels
from tumorcls.data.split import split_groups
from tumorcls.errors import DataError

Part = Literal["train", "validation", "development", "test"]
"""``development`` is train and validation together: what a final model is trained on."""


@dataclass(frozen=True)
class ImageSet:
    """One part of a data set.

    Attributes:
        images: uint8, shape (n, size, size, 3), RGB, read-only.
        labels: int64, shape (n,), indices into `classes`.
        groups: int64, shape (n,); images of one group show the same patient or are near-duplicates.
        classes: Class names in the order of their indices.
        keys: Content hash of each image; corruptions are drawn from it.
        key: Content hash of the whole, for caches.
        names: Of each image, its set and file; none where they have none.
        patients: Of each image, who is shown, where that is named; none where it is of none.
    """

    images: Rows
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    key: str
    names: tuple[str, ...] = ()
    patients: tuple[str | None, ...] = ()

    def targets(self, label_smoothing: float = 0.0) -> NDArray[np.float32]:
        """Returns one-hot rows, shape (n, classes), smoothed towards the uniform distribution (Szegedy et al., 2016)."""
        one_hot = np.eye(len(self.classes), dtype=np.float32)[self.labels]
        return one_hot * np.float32(1 - label_smoothing) + np.float32(label_smoothing / len(self.classes))

    def rows(self, rows: NDArray[np.int64]) -> "ImageSet":
        """Returns these rows as a set of their own, in memory."""
        keys = tuple(self.keys[row] for row in rows)
        key = content_key(pixels=keys, of=self.key)
        names = tuple(self.names[row] for row in rows) if self.names else ()
        patients = tuple(self.patients[row] for row in rows) if self.patients else ()
        return ImageSet(self.images[rows], self.labels[rows], self.groups[rows], self.classes, keys, key, names, patients)

    def class_counts(self) -> dict[str, int]:
        """Returns the number of images of each class."""
        return dict(zip(self.classes, np.bincount(self.labels, minlength=len(self.classes)).tolist(), strict=True))


@dataclass(frozen=True)
class Fold:
    """One division of a set into images to train on and images to validate with; no group is on both sides.

    Attributes:
        train: int64, rows of the set.
        validation: The other rows.
    """

    train: NDArray[np.int64]
    validation: ImageSet


def k_folds(images: ImageSet, count: int, seed: int) -> tuple[Fold, ...]:
    """Divides a set into `count` folds of like size and like shares of the classes; each row validates in one of them.

    Raises:
        DataError: A class has too few groups for every fold to have it on both sides.
    """
    groups = [len(np.unique(images.groups[images.labels == label])) for label in range(len(images.classes))]
    if min(groups) < count:
        scarce = images.classes[int(np.argmin(groups))]
        raise DataError(
            f"folds: each class must have {count} groups of images; got {min(groups)} of {scarce}. Choose fewer folds."
        )
    names = [str(number) for number in range(count)]
    fold_of = split_groups(images.groups, images.labels.tolist(), dict.fromkeys(names, 1 / count), seed)
    folds = tuple(Fold(np.flatnonzero(fold_of != name), images.rows(np.flatnonzero(fold_of == name))) for name in names)
    for number, fold in enumerate(folds):
        if missing := [name for name, size in fold.validation.class_counts().items() if not size]:
            raise DataError(
                f"folds: fold {number} must have images of each class; got none of {missing[0]}. Choose fewer folds."
            )
    return folds


@dataclass(frozen=True)
class Mirrored:
    """Rows of images (n, height, width, channels), left and right exchanged as they are read; by slice or array of indices."""

    images: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the images."""
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any, /) -> Any:
        return self.images[rows][:, :, ::-1]


_DEVELOPMENT = ("train", "validation")
_CHUNK = 256  # images decoded at a time


def load_part(prepared: PreparedData, part: Part, image_size: int, cache: Path) -> ImageSet:
    """Loads one part; the files of the other parts are not opened.

    Raises:
        DataError: The part is empty or lacks a class.
    """
    indices = np.sort(np.concatenate([prepared.indices(p) for p in (_DEVELOPMENT if part == "development" else (part,))]))
    labels = prepared.labels(indices)
    missing = [name for index, name in enumerate(prepared.classes) if index not in labels]
    if missing:
        raise DataError(
            f"{part} part: every class must have images; none of {', '.join(missing)} among {len(indices)}. "
            "Add images, or give the part a larger fraction in [objective.split]."
        )
    entries = [prepared.manifest.entries[i] for i in indices]
    return image_set(entries, prepared.groups[indices], prepared.classes, image_size, ArrayCache(cache))


def image_set(
    entries: Sequence[Entry], groups: NDArray[np.int64], classes: tuple[str, ...], size: int, cache: ArrayCache
) -> ImageSet:
    """Loads the images of a manifest's entries, decoding them only the first time.

    Args:
        entries: The n images, in the order of the result; each has one of the classes.
        groups: (n,) what must be resampled together.
        classes: Class names in the order of their indices.
        size: Width and height in pixels; see `tumorcls.data.images.fit_square`.
        cache: Keeps the decoded images.

    Raises:
        DataError: A file cannot be read or is another one since the scan, or the cache cannot be written.
    """

    def make() -> Iterator[Pixels]:
        counted = activity.counting("decoding images", len(entries))
        with counted, ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for start in range(0, len(entries), _CHUNK):
                chunk = np.stack(list(pool.map(lambda entry: _decode(entry, size), entries[start : start + _CHUNK])))
                yield chunk
                activity.advance(len(chunk))

    keys = tuple(entry.pixel_sha256 for entry in entries)
    key = content_key(pixels=keys, size=size, version=PIXELS_VERSION)
    images = cache.get(key, (len(entries), size, size, 3), np.uint8, make)
    labels = np.array([class_index(entry.label, classes) for entry in entries], dtype=np.int64)
    names = tuple(f"{entry.source}/{entry.title}" for entry in entries)
    return ImageSet(images, labels, groups, classes, keys, key, names, tuple(entry.patient for entry in entries))


def _decode(entry: Entry, size: int) -> Pixels:
    image = read_image(entry.path, entry.slice_number)
    if hash_pixels(image) != entry.pixel_sha256:
        raise DataError(
            f"{entry.path}: must stay as it is while it is worked with; got another image than a moment ago. Start again."
        )
    return fit_square(image, size)


def stratified_subset(labels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Returns at most `size` sorted indices with the classes' shares kept; the same ones each time."""
    if size >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(labels))
    rank_in_class: NDArray[Any] = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank_in_class[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(rank_in_class, kind="stable")[:size])
