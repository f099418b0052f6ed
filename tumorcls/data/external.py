"""What of other data a model may be measured on: all of it, and that which shows nothing that the model has learned from.

Public sets repeat one another. An image whose picture was trained or validated with, or that shows a patient who was, tells how
well a model remembers, not how well it would do elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorcls.cache.arrays import ArrayCache
from tumorcls.data.dataset import ImageSet, image_set
from tumorcls.data.dedup.groups import find_groups
from tumorcls.data.dedup.orientation import MIRRORED, QUARTER_TURNED, TURNED_BACK, UPRIGHT, turn
from tumorcls.data.fingerprint import THUMB
from tumorcls.data.manifest import Manifest, scan
from tumorcls.data.parts import has_class, taken_out
from tumorcls.data.prepare import PreparedData, assign_parts, prepare
from tumorcls.data.slices import Which
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError

Thumbs = npt.NDArray[np.uint8]

_LEARNED_FROM = ("train", "validation")
_ALIKE = 0.98
"""Correlation of whole thumbnails: of SARTAJ's images 2,539 reach it with one of Nickparvar's, and 2,539 reach .995."""
_CHUNK = 512


@dataclass(frozen=True)
class ExternalData:
    """Images of other data than a model's own.

    Attributes:
        manifest: All of them, in the order of the data.
        groups: (n,) images with equal numbers are copies or show one patient.
        usable: (n,) whether an image has a class of the model, and no table leaves it out.
        seen_picture: (n,) whether the model may have seen its picture.
        seen_patient: (n,) whether it may have seen another picture of its patient or its volume, but not this one. Who
            is shown is known where either data names them.
        training: The model's own data.
    """

    manifest: Manifest
    groups: npt.NDArray[np.int64]
    usable: npt.NDArray[np.bool_]
    seen_picture: npt.NDArray[np.bool_]
    seen_patient: npt.NDArray[np.bool_]
    training: PreparedData

    @property
    def new(self) -> npt.NDArray[np.bool_]:
        """(n,) which images are usable and show nothing that was learned from."""
        return self.usable & ~self.seen_picture & ~self.seen_patient

    def images(self, chosen: npt.NDArray[np.bool_], size: int, cache: Path) -> ImageSet:
        """Loads some of the images, marked in (n,), as squares of `size` pixels.

        Raises:
            DataError: There is none, or a file cannot be read.
        """
        rows = np.flatnonzero(chosen)
        if not len(rows):
            seen = int((self.usable & ~self.new).sum())
            raise DataError(
                f"other data: at least one image must be new to the model; got {len(self.usable):,} images, of which it may "
                f"have seen {seen:,}. Name other data."
            )
        entries = [self.manifest.entries[i] for i in rows.tolist()]
        return image_set(entries, self.groups[rows], self.training.classes, size, ArrayCache(cache))


def find_seen(training: PreparedData, other: Manifest, settings: SplitSettings, cache: Path) -> ExternalData:
    """Compares other data with a model's own, as the images of one data set are compared with each other.

    Args:
        training: The model's own data.
        other: The data to measure on.
        settings: The model's: what counts as a copy, and whether it is binary.
        cache: Where the comparison is kept.
    """
    own = training.manifest.entries
    both = Manifest((*own, *other.entries), thumbs=np.concatenate([training.manifest.thumbs, other.thumbs]))
    groups = find_groups(both, cache, flips=settings.flips, quarter_turns=settings.quarter_turns)
    learned = np.isin(training.parts, _LEARNED_FROM)
    picture = np.isin(groups.images[len(own) :], groups.images[: len(own)][learned])
    picture |= _plainly_alike(other.thumbs, training.manifest.thumbs[learned], settings)
    theirs, ours = groups.split[len(own) :], groups.split[: len(own)]
    patient = np.isin(theirs, np.concatenate([ours[learned], theirs[picture]]))
    usable = has_class(other.entries, settings) & ~taken_out(other.entries)
    return ExternalData(other, groups.split[len(own) :], usable, picture, patient & ~picture, training)


def leave_out(manifest: Manifest, source: str, settings: SplitSettings, cache: Path) -> ExternalData:
    """Divides a manifest into the images of one source, to measure on, and all others, to train and validate with.

    Raises:
        DataError: The others are not enough for both.
    """
    inside = np.array([entry.source == source for entry in manifest.entries])

    def some(chosen: npt.NDArray[np.bool_]) -> Manifest:
        rows = np.flatnonzero(chosen).tolist()
        return Manifest(tuple(manifest.entries[i] for i in rows), thumbs=manifest.thumbs[rows])

    settings = settings.model_copy(update={"test": 0.0, "official_test": False})
    others = some(~inside)
    groups = find_groups(others, cache, flips=settings.flips, quarter_turns=settings.quarter_turns)
    return find_seen(assign_parts(others, groups, settings), some(inside), settings, cache)


def _plainly_alike(thumbs: Thumbs, learned: Thumbs, settings: SplitSettings) -> npt.NDArray[np.bool_]:
    """Marks thumbnails (n, side, side) that correlate with one that was learned from, as it is, mirrored or turned.

    Copies are joined where their detail correlates. Of a smooth picture, JPEG leaves little of that: here, where a doubt is
    reason enough to leave an image out, the whole picture counts too.
    """
    quarters = (*QUARTER_TURNED, TURNED_BACK) if settings.quarter_turns else ()
    orientations = (UPRIGHT, *(MIRRORED if settings.flips else ()), *quarters)
    known = _standardised(learned)
    alike = np.zeros(len(thumbs), np.bool_)
    for orientation in orientations:
        for start in range(0, len(thumbs), _CHUNK):
            rows = slice(start, start + _CHUNK)
            alike[rows] |= (_standardised(turn(thumbs[rows], orientation)) @ known.T).max(axis=1) >= _ALIKE
    return alike


def _standardised(thumbs: Thumbs) -> npt.NDArray[np.float32]:
    """Returns each at half its size as a row of mean 0 and length 1, so that products of rows are correlations."""
    half = thumbs.reshape(len(thumbs), THUMB // 2, 2, THUMB // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    rows = half.reshape(len(thumbs), -1)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result: npt.NDArray[np.float32] = rows / np.where(lengths > 0, lengths, 1).astype(np.float32)
    return result


def own_data(
    folders: Sequence[str | Path], split_sha256: str, settings: SplitSettings, cache: Path, slices: Which = "middle"
) -> PreparedData:
    """Prepares the data that a model was trained on, to compare other data with it.

    Args:
        folders: Where it lies.
        split_sha256: Of the model.
        settings: Of the model.
        cache: The cache folder.
        slices: Of the model.

    Raises:
        DataError: It is not there, or not as it was.
    """
    remedy = "Name where it lies with --trained-on."
    rule = "other data is compared with the model's own, which must be there"
    try:
        own = prepare(folders, settings, cache, slices)
    except DataError as error:
        raise DataError(f"--data: {rule}; {str(error).rstrip('.')}. {remedy}") from error
    if own.split_sha256 != split_sha256:
        got = f"another split ({own.split_sha256[:12]}) than the model's ({split_sha256[:12]})"
        raise DataError(f"--data: {rule} as it was; got {got}. {remedy}")
    return own


def other_data(folders: Sequence[str | Path], manifest_sha256: str, cache: Path, slices: Which = "middle") -> Manifest | None:
    """Scans data, `slices` of its volumes; None where it is that of a manifest, wherever it lies now."""
    manifest = scan(folders, cache, slices)
    return None if manifest.sha256 == manifest_sha256 else manifest
