"""Images that show the same picture: exact copies and near duplicates, in groups that do not chain.

Near duplicates are found in two steps: perceptual hashes within a Hamming distance name the candidates, and the correlation of
their aligned thumbnails decides (`tumorcls.data.dedup.similarity`). `docs/deduplication.md` says how the thresholds were
chosen.
"""

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorcls.cache.checked import keep_arrays, load_arrays
from tumorcls.data.dedup.hamming import pairs_between, pairs_within
from tumorcls.data.dedup.orientation import MIRRORED, QUARTER_TURNED, UPRIGHT, hash_blocks, turned_hashes
from tumorcls.data.dedup.similarity import Views, similarity, views
from tumorcls.data.manifest import Manifest

Ids = npt.NDArray[np.int64]

MAX_DISTANCE = 10
"""Bits of the perceptual hash in which candidates may differ (inclusive). Distances of this hash are nearly always even."""

MIN_SIMILARITY = 0.94
"""Correlation of aligned thumbnails from which two images are one picture (inclusive)."""

_ROUND = 4096
_VERSION = 4  # raised when the same manifest would be grouped otherwise, so that old caches are not used


@dataclass(frozen=True)
class Groups:
    """Group numbers of the n entries of a manifest, each (n,) int64; a group's number is the index of its first member.

    `files` joins byte-for-byte copies, `pixels` files that decode to equal pixels, `images` these and near duplicates, but no
    slices of one volume: neighbours are alike, and no copies. `split` also joins those, and the images of one patient: what
    must stay on one side of a split.
    """

    files: Ids
    pixels: Ids
    images: Ids
    split: Ids


def find_groups(
    manifest: Manifest, cache_dir: Path | None = None, *, flips: bool = True, quarter_turns: bool = False
) -> Groups:
    """Groups the images of a scanned manifest.

    Args:
        manifest: From `tumorcls.data.manifest.scan`.
        cache_dir: Where the result is kept for the next call with an equal manifest; None keeps nothing.
        flips: Whether mirror images, left to right and upside down, count as the same picture.
        quarter_turns: Whether pictures turned by 90 degrees do, mirrored or not.
    """
    settings = (flips, quarter_turns)
    if cache_dir is None:
        return _group(manifest, *settings)
    key = "\n".join(map(str, (_VERSION, manifest.sha256, MAX_DISTANCE, MIN_SIMILARITY, *settings)))
    store = cache_dir / f"groups-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    names = [field.name for field in fields(Groups)]
    if stored := load_arrays(store, names):
        return Groups(*(stored[name] for name in names))
    groups = _group(manifest, *settings)
    keep_arrays(store, **vars(groups))
    return groups


def _group(manifest: Manifest, flips: bool, quarter_turns: bool) -> Groups:
    entries = manifest.entries
    files = first_of_equal([(entry.sha256, entry.slice_number) for entry in entries])
    pixels = first_of_equal([entry.pixel_sha256 for entry in entries])
    hashes = np.array([entry.phash for entry in entries], dtype=np.uint64)
    volumes = first_of_equal([entry.volume or i for i, entry in enumerate(entries)])
    images = join_near(hashes, manifest.thumbs, pixels, volumes, flips=flips, quarter_turns=quarter_turns)
    patients = first_of_equal([entry.patient or i for i, entry in enumerate(entries)])
    # What a file says holds for all files that say it, unless a table has other words for each of them.
    said = {entry.file_patient for entry in entries if entry.file_patient == entry.patient} - {None}
    stated = first_of_equal([entry.file_patient if entry.file_patient in said else i for i, entry in enumerate(entries)])
    links = [_links(images), _links(patients), _links(stated), _links(volumes)]
    return Groups(files, pixels, images, connect(np.concatenate(links), len(entries)))


def join_near(
    hashes: npt.NDArray[np.uint64],
    thumbs: npt.NDArray[np.uint8],
    pixels: Ids,
    volumes: Ids | None = None,
    *,
    flips: bool = True,
    quarter_turns: bool = False,
) -> Ids:
    """Joins groups of exact copies whose images show one picture.

    Args:
        hashes: (n,) perceptual hashes.
        thumbs: uint8 (n, side, side) thumbnails.
        pixels: (n,) group of exact copies of each image, numbered by its first member.
        volumes: (n,) equal for slices of one volume, which are no near duplicates of one another; None where there is none.
        flips: As in `find_groups`.
        quarter_turns: As in `find_groups`.

    Returns:
        (n,) group of each image, numbered by its first member.
    """
    first, number = np.unique(pixels, return_inverse=True)
    hashes, thumbs = hashes[first], thumbs[first]
    volume = np.arange(len(first)) if volumes is None else volumes[first]
    upright = views(thumbs)
    orientations = (MIRRORED if flips else ()) + (QUARTER_TURNED if quarter_turns else ())
    groups = _join_alike(np.arange(len(first)), upright, upright, volume, pairs_within(hashes, MAX_DISTANCE))
    if orientations:
        low = hash_blocks(thumbs)
        hashes = turned_hashes(low, UPRIGHT)
        for orientation in orientations:
            found = pairs_between(hashes, turned_hashes(low, orientation), MAX_DISTANCE)
            if orientation in MIRRORED:  # undoes itself, so the pair (i, turned j) is the pair (j, turned i)
                found = (pairs[pairs[:, 0] < pairs[:, 1]] for pairs in found)
            groups = _join_alike(groups, upright, replace(upright, orientation=orientation), volume, found)
    return first[groups][number]


def _join_alike(groups: Ids, left: Views, right: Views, volume: Ids, found: Iterable[npt.NDArray[np.int64]]) -> Ids:
    """Joins the groups of those candidate pairs that are alike enough, and not of one volume; they come in blocks."""

    def left_over(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # What earlier rounds joined need not be compared again; most mirrored copies drop out so.
        apart: npt.NDArray[np.bool_] = groups[pairs[:, 0]] != groups[pairs[:, 1]]
        return pairs[apart]

    for block in found:
        pairs = left_over(block[volume[block[:, 0]] != volume[block[:, 1]]])
        for start in range(0, len(pairs), _ROUND):
            some = left_over(pairs[start : start + _ROUND])
            alike = some[similarity(left, right, some) >= MIN_SIMILARITY]
            groups = connect(np.concatenate([_links(groups), alike]), len(groups))
    return groups


def first_of_equal(keys: Sequence[Hashable]) -> Ids:
    """Numbers each key by the index of its first occurrence."""
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)


def _links(groups: Ids) -> Ids:
    """Returns pairs that connect each image with the first of its group."""
    return np.column_stack([groups, np.arange(len(groups))])


def connect(pairs: Ids, n: int) -> Ids:
    """Numbers the connected components of n nodes, each by its lowest member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
