import tracemalloc
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorcls.data.dedup import hamming
from tumorcls.data.dedup.hamming import pairs_between, pairs_within

hash_lists = st.lists(st.one_of(st.integers(0, 15), st.integers(0, 2**64 - 1)), max_size=25)


def brute(left: list[int], right: list[int], distance: int) -> list[tuple[int, int]]:
    return [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if (a ^ b).bit_count() <= distance]


def array(hashes: list[int]) -> npt.NDArray[np.uint64]:
    return np.array(hashes, dtype=np.uint64)


def joined(blocks: Iterable[hamming.Pairs]) -> list[tuple[int, ...]]:
    return [tuple(pair) for block in blocks for pair in block.tolist()]


@settings(deadline=None)  # whatever comes first imports SciPy
@given(hash_lists, st.integers(0, 64))
def test_every_pair_is_found_once(hashes: list[int], distance: int) -> None:
    expected = [(i, j) for i, j in brute(hashes, hashes, distance) if i < j]
    assert joined(pairs_within(array(hashes), distance)) == expected


@settings(deadline=None)
@given(hash_lists, hash_lists, st.integers(0, 64))
def test_every_pair_between_two_sides_is_found_once(left: list[int], right: list[int], distance: int) -> None:
    assert joined(pairs_between(array(left), array(right), distance)) == brute(left, right, distance)


@settings(deadline=None)
@given(hash_lists, hash_lists, st.integers(0, 64), st.integers(1, 30))
def test_every_pair_is_found_once_however_few_are_handed_on_at_a_time(
    left: list[int], right: list[int], distance: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_PAIRS", most), ("_ROWS", 4), ("_COLUMNS", 5)):
            patch.setattr(hamming, name, value)
        blocks = list(pairs_between(array(left), array(right), distance))
    assert sorted(joined(blocks)) == brute(left, right, distance)
    assert all(len(block) < most + len(right) and joined([block]) == sorted(joined([block])) for block in blocks)


EQUAL = np.full(3000, 123456789, np.uint64)
NEAR = np.array([1 << i | 1 << j | 1 << k for i in range(26) for j in range(i) for k in range(j)], np.uint64)


@pytest.mark.parametrize("hashes", [EQUAL, NEAR], ids=["equal", "near"])
def test_memory_does_not_grow_with_the_pairs(hashes: hamming.Hashes) -> None:
    """A picture with thousands of copies has millions of pairs of them; twenty thousand took 20 GB."""
    tracemalloc.start()
    try:
        found = sum(map(len, pairs_between(hashes, hashes, 10)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == len(hashes) ** 2
    assert peak < 100 * 2**20


def test_blocks_meet_without_a_gap() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 3 * hamming._ROWS + 7, dtype=np.uint64)
    hashes[::5] = hashes[3]
    hashes[1::7] = hashes[3] ^ np.uint64(1 << 63)
    pairs = np.concatenate(list(pairs_within(hashes, 24)))
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    assert np.array_equal(pairs, np.argwhere(np.triu(distance <= 24, 1)))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_planted_neighbours_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 2000, dtype=np.uint64)
    bits = np.array([sum(1 << int(b) for b in rng.choice(64, 10, replace=False)) for _ in range(1000)], dtype=np.uint64)
    hashes[1000:] = hashes[:1000] ^ bits
    found = set(joined(pairs_within(hashes, 10)))
    assert {(i, i + 1000) for i in range(1000)} <= found
