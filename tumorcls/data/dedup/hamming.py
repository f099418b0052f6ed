"""All pairs of perceptual hashes within a Hamming distance, found exactly and in little memory.

Distances are computed block by block and only close pairs are kept: time grows with the square of the number of *distinct*
hashes, memory with the number of pairs found. At a distance of 10 an index of hash parts (multi-index hashing, Norouzi et al.,
CVPR 2012) visits too many candidates to pay (`docs/deduplication.md`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.int64]

_ROWS, _COLUMNS = 256, 8192  # one block's 2 million distances fit a core's cache


def pairs_within(hashes: Hashes, max_distance: int) -> Pairs:
    """Finds every pair of hashes that differ in at most `max_distance` bits (inclusive).

    Args:
        hashes: (n,) 64-bit hashes.
        max_distance: In bits, 0 to 64.

    Returns:
        int64 (pairs, 2), each pair once with the lower index first, sorted.
    """
    pairs = pairs_between(hashes, hashes, max_distance)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def pairs_between(left: Hashes, right: Hashes, max_distance: int) -> Pairs:
    """Finds every pair of one hash of each side that differ in at most `max_distance` bits (inclusive).

    Returns:
        int64 (pairs, 2): an index into `left` and one into `right`, sorted.
    """
    from scipy.sparse import coo_array

    distinct_left, number_left = np.unique(left, return_inverse=True)
    distinct_right, number_right = np.unique(right, return_inverse=True)
    near = [np.zeros((0, 2), np.int64)]
    for top in range(0, len(distinct_left), _ROWS):
        near += [block + np.array([top, 0]) for block in _close(distinct_left[top : top + _ROWS], distinct_right, max_distance)]

    def matrix(rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], shape: tuple[int, int]) -> Any:
        return coo_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=shape).tocsr()

    first, second = np.concatenate(near).T
    # From pairs of distinct hashes to pairs of the images that have them.
    sides = len(distinct_left), len(distinct_right)
    members_left = matrix(np.arange(len(left)), number_left, (len(left), sides[0]))
    members_right = matrix(number_right, np.arange(len(right)), (sides[1], len(right)))
    pairs = (members_left @ matrix(first, second, sides) @ members_right).nonzero()
    return np.column_stack(pairs).astype(np.int64)[np.lexsort(pairs[::-1])]


def _close(rows: Hashes, columns: Hashes, max_distance: int) -> Iterator[Pairs]:
    for start in range(0, len(columns), _COLUMNS):
        distances = np.bitwise_count(rows[:, None] ^ columns[None, start : start + _COLUMNS])
        flat = np.flatnonzero(distances <= max_distance)  # much faster than nonzero() in two dimensions
        yield np.column_stack(np.divmod(flat, distances.shape[1])) + np.array([0, start])
