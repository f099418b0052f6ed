"""Which images show the same picture? Exact copies and near duplicates, in groups that do not chain.

Near duplicates are found in two steps: perceptual hashes within a Hamming distance name the candidates, and the correlation of
their thumbnails decides. `docs/deduplication.md` says how the thresholds were chosen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumorcls.hamming import pairs_within
from tumorcls.manifest import Manifest

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearRule:
    """When two images count as near duplicates; the reasons are in `docs/deduplication.md`."""

    max_distance: int = 8
    min_correlation: float = 0.96


@dataclass(frozen=True)
class Groups:
    """Group numbers of the entries of a manifest, each (n,) int64; a group's number is the index of its first member.

    `bytes` and `pixels` join exact copies, `images` joins exact copies and near duplicates, `split` also joins the images of one
    patient: what must stay on one side of a split.
    """

    bytes: Ids
    pixels: Ids
    images: Ids
    split: Ids


def find_groups(manifest: Manifest, rule: NearRule = NearRule(), flips: bool = False) -> Groups:
    """Groups the images of a scanned manifest.

    Args:
        manifest: From `tumorcls.manifest.scan`.
        rule: When two images count as near duplicates.
        flips: Whether mirror images and quarter turns count as the same picture.
    """
    n = len(manifest.entries)
    same_bytes = first_of_equal([entry.sha256 for entry in manifest.entries])
    same_pixels = first_of_equal([entry.pixel_sha256 for entry in manifest.entries])
    hashes = np.array([entry.phash for entry in manifest.entries], dtype=np.uint64)
    pairs = pairs_within(hashes, rule.max_distance)
    near = pairs[correlation(manifest.thumbs, pairs) >= rule.min_correlation]
    exact = np.column_stack([np.arange(n), same_pixels])
    images = connect(n, np.concatenate([exact, near]))
    patients = first_of_equal(
        [(entry.source, entry.patient) if entry.patient else i for i, entry in enumerate(manifest.entries)]
    )
    split = connect(n, np.concatenate([np.column_stack([np.arange(n), images]), np.column_stack([np.arange(n), patients])]))
    return Groups(same_bytes, same_pixels, images, split)


def first_of_equal(keys: list[object] | list[str]) -> Ids:
    """Numbers each key by the index of its first occurrence."""
    first: dict[object, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)


def connect(n: int, pairs: npt.NDArray[np.int64]) -> Ids:
    """Numbers the connected components of n nodes, each by its lowest member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def correlation(thumbs: npt.NDArray[np.uint8], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Returns the correlation of each pair's thumbnails, (pairs,) in [-1, 1]; 0 where one is constant."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(length > 0, length, 1)
    result = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 8192):
        chunk = pairs[start : start + 8192]
        result[start : start + 8192] = np.einsum("ij,ij->i", flat[chunk[:, 0]], flat[chunk[:, 1]])
    return result
