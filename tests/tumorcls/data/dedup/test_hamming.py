import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorcls.data.dedup import hamming
from tumorcls.data.dedup.hamming import pairs_between, pairs_within

hash_lists = st.lists(st.one_of(st.integers(0, 15), st.integers(0, 2**64 - 1)), max_size=25)


def brute(left: list[int], right: list[int], distance: int) -> list[tuple[int, int]]:
    return [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if (a ^ b).bit_count() <= distance]


def array(hashes: list[int]) -> npt.NDArray[np.uint64]:
    return np.array(hashes, dtype=np.uint64)


@given(hash_lists, st.integers(0, 64))
def test_every_pair_is_found_once(hashes: list[int], distance: int) -> None:
    expected = [(i, j) for i, j in brute(hashes, hashes, distance) if i < j]
    assert [tuple(pair) for pair in pairs_within(array(hashes), distance).tolist()] == expected


@given(hash_lists, hash_lists, st.integers(0, 64))
def test_every_pair_between_two_sides_is_found_once(left: list[int], right: list[int], distance: int) -> None:
    found = pairs_between(array(left), array(right), distance)
    assert [tuple(pair) for pair in found.tolist()] == brute(left, right, distance)


def test_blocks_meet_without_a_gap() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 3 * hamming._ROWS + 7, dtype=np.uint64)
    hashes[::5] = hashes[3]
    hashes[1::7] = hashes[3] ^ np.uint64(1 << 63)
    pairs = pairs_within(hashes, 24)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    assert np.array_equal(pairs, np.argwhere(np.triu(distance <= 24, 1)))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_planted_neighbours_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 2000, dtype=np.uint64)
    bits = np.array([sum(1 << int(b) for b in rng.choice(64, 10, replace=False)) for _ in range(1000)], dtype=np.uint64)
    hashes[1000:] = hashes[:1000] ^ bits
    found = set(map(tuple, pairs_within(hashes, 10).tolist()))
    assert {(i, i + 1000) for i in range(1000)} <= found
