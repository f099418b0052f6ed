"""Which perceptual hashes lie close together? All pairs within a Hamming distance, found exactly and in little memory.

Distances are computed block by block and only close pairs are kept: time grows with the square of the number of *distinct*
hashes, memory with the number of pairs found. At a distance of 10 an index of hash parts (multi-index hashing, Norouzi et al.,
CVPR 2012) visits too many candidates to pay (`docs/deduplication.md`).
"""

from collections.abc import Iterator

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
    distinct, number = np.unique(hashes, return_inverse=True)
    near = [np.column_stack([np.arange(len(distinct))] * 2)]
    for top in range(0, len(distinct), _ROWS):
        # Columns start at the block's first row: below the diagonal every pair would be found again.
        found = _close(distinct[top : top + _ROWS], distinct[top:], max_distance)
        near += [block[block[:, 0] < block[:, 1]] + top for block in found]
    pairs = _expand(np.concatenate(near), number, number)
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0)


def pairs_between(left: Hashes, right: Hashes, max_distance: int) -> Pairs:
    """Finds every pair of one hash of each side that differ in at most `max_distance` bits (inclusive).

    Returns:
        int64 (pairs, 2): an index into `left` and one into `right`, sorted.
    """
    distinct_left, number_left = np.unique(left, return_inverse=True)
    distinct_right, number_right = np.unique(right, return_inverse=True)
    near = [np.zeros((0, 2), np.int64)]
    for top in range(0, len(distinct_left), _ROWS):
        found = _close(distinct_left[top : top + _ROWS], distinct_right, max_distance)
        near += [block + np.array([top, 0]) for block in found]
    return np.unique(_expand(np.concatenate(near), number_left, number_right), axis=0)


def _close(rows: Hashes, columns: Hashes, max_distance: int) -> Iterator[Pairs]:
    for start in range(0, len(columns), _COLUMNS):
        distances = np.bitwise_count(rows[:, None] ^ columns[None, start : start + _COLUMNS])
        flat = np.flatnonzero(distances <= max_distance)  # much faster than nonzero() in two dimensions
        yield np.column_stack(np.divmod(flat, distances.shape[1])) + np.array([0, start])


def _expand(near: Pairs, number_left: npt.NDArray[np.intp], number_right: npt.NDArray[np.intp]) -> Pairs:
    """Turns pairs of distinct hashes into pairs of the images that have them."""
    order_left, starts_left = _members(number_left)
    order_right, starts_right = _members(number_right)
    first, second = near.T
    per_row = starts_right[second + 1] - starts_right[second]
    sizes = (starts_left[first + 1] - starts_left[first]) * per_row
    which = np.repeat(np.arange(len(near)), sizes)
    row, column = np.divmod(np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes), per_row[which])
    return np.column_stack(
        [order_left[starts_left[first][which] + row], order_right[starts_right[second][which] + column]]
    ).astype(np.int64)


def _members(number: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Returns the indices sorted by number, and where each number starts among them."""
    order = np.argsort(number, kind="stable")
    return order, np.searchsorted(number[order], np.arange(number.max(initial=-1) + 2))
