"""Which perceptual hashes lie close together? All pairs within a Hamming distance, found exactly and in little memory."""

import numpy as np
import numpy.typing as npt

_BLOCK = 1024  # a block of distances (1024 x 8192 bytes) stays in a core's cache
_WIDTH = 8192


def pairs_within(hashes: npt.NDArray[np.uint64], max_distance: int) -> npt.NDArray[np.int64]:
    """Finds every pair of hashes that differ in at most `max_distance` bits (inclusive).

    Distances are computed block by block and only close pairs are kept: time grows with the square of the number of *distinct*
    hashes, memory with the number of pairs found.

    Args:
        hashes: (n,) 64-bit hashes.
        max_distance: In bits, 0 to 64.

    Returns:
        int64 (pairs, 2), each pair once with the lower index first, sorted.
    """
    distinct, member_of = np.unique(hashes, return_inverse=True)
    near = [np.column_stack([np.arange(len(distinct))] * 2)]
    for top in range(0, len(distinct), _BLOCK):
        rows = distinct[top : top + _BLOCK, None]
        for left in range(top, len(distinct), _WIDTH):
            distance = np.bitwise_count(rows ^ distinct[None, left : left + _WIDTH])
            i, j = np.nonzero(distance <= max_distance)
            i, j = i + top, j + left
            near.append(np.column_stack([i, j])[i < j])
    return _expand(np.concatenate(near), member_of.astype(np.int64))


def _expand(near: npt.NDArray[np.int64], member_of: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Turns pairs of distinct hashes into pairs of the images that have them."""
    order = np.argsort(member_of, kind="stable")
    starts = np.searchsorted(member_of[order], np.arange(member_of.max(initial=-1) + 2))
    first, second = near.T
    count_first = starts[first + 1] - starts[first]
    count_second = starts[second + 1] - starts[second]
    sizes = count_first * count_second
    which = np.repeat(np.arange(len(near)), sizes)
    offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    a = order[starts[first][which] + offset // count_second[which]]
    b = order[starts[second][which] + offset % count_second[which]]
    pairs = np.unique(np.column_stack([np.minimum(a, b), np.maximum(a, b)])[a != b], axis=0)
    return pairs.astype(np.int64)
