"""All pairs of perceptual hashes within a Hamming distance, found exactly and in little memory.

Distances are computed block by block and only close pairs are kept, until there are enough of them to be handed on: time grows
with the square of the number of *distinct* hashes, and with the number of pairs found; memory with neither. At a distance of 10
an index of hash parts (multi-index hashing, Norouzi et al., CVPR 2012) visits too many candidates to pay
(`docs/deduplication.md`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.int64]

_ROWS, _COLUMNS = 256, 8192  # one block's 2 million distances fit a core's cache
_PAIRS = 100_000  # that are handed on at a time, or those of one image


def pairs_within(hashes: Hashes, max_distance: int) -> Iterator[Pairs]:
    """Finds every pair of hashes that differ in at most `max_distance` bits (inclusive).

    Args:
        hashes: (n,) 64-bit hashes.
        max_distance: In bits, 0 to 64.

    Yields:
        int64 (pairs, 2), each pair once with the lower index first; each block is sorted.
    """
    for pairs in pairs_between(hashes, hashes, max_distance):
        yield pairs[pairs[:, 0] < pairs[:, 1]]


def pairs_between(left: Hashes, right: Hashes, max_distance: int) -> Iterator[Pairs]:
    """Finds every pair of one hash of each side that differ in at most `max_distance` bits (inclusive).

    Yields:
        int64 (pairs, 2): an index into `left` and one into `right`, each pair once; each block is sorted.
    """
    distinct_left, number_left = np.unique(left, return_inverse=True)
    distinct_right, number_right = np.unique(right, return_inverse=True)
    near, count = [np.zeros((0, 2), np.int64)], 0
    for top in range(0, len(distinct_left), _ROWS):
        for close in _close(distinct_left[top : top + _ROWS], distinct_right, max_distance):
            near.append(close + np.array([top, 0]))
            count += len(close)
            if count >= _PAIRS:
                yield from _of_images(np.concatenate(near), number_left, number_right)
                near, count = near[:1], 0
    if count:
        yield from _of_images(np.concatenate(near), number_left, number_right)


def _of_images(near: Pairs, left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]) -> Iterator[Pairs]:
    """Yields the pairs of images whose hashes are pairs of distinct hashes.

    Args:
        near: Pairs of numbers of hashes, (pairs, 2).
        left: The number of each image's hash.
        right: The same, of the other side.
    """
    from scipy.sparse import coo_array

    def matrix(rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], shape: tuple[int, int]) -> Any:
        return coo_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=shape).tocsr()

    images = np.bincount(right)  # that have each hash
    sides = left.max() + 1, len(images)
    partners = matrix(near[:, 0], near[:, 1], sides)
    members = matrix(right, np.arange(len(right)), (sides[1], len(right)))
    counts = np.bincount(near[:, 0], images[near[:, 1]], sides[0])[left]
    rows = np.flatnonzero(counts)
    ends = np.flatnonzero(np.diff(np.cumsum(counts[rows]) // _PAIRS)) + 1
    for some in np.split(rows, ends):
        pairs = partners[left[some]] @ members
        pairs.sort_indices()
        row, column = pairs.nonzero()
        yield np.column_stack([some[row], column]).astype(np.int64)


def _close(rows: Hashes, columns: Hashes, max_distance: int) -> Iterator[Pairs]:
    for start in range(0, len(columns), _COLUMNS):
        distances = np.bitwise_count(rows[:, None] ^ columns[None, start : start + _COLUMNS])
        flat = np.flatnonzero(distances <= max_distance)  # much faster than nonzero() in two dimensions
        yield np.column_stack(np.divmod(flat, distances.shape[1])) + np.array([0, start])
