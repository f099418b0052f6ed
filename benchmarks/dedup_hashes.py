"""How long do 100,000 hashes take to pair, and how much memory?

Half are random, half lie within 10 bits of one of the others, so that there is something to find. What multi-index hashing
(Norouzi et al., CVPR 2012) would compare is counted beside: eleven substrings of five or six bits, exact at a distance of 10.

    python benchmarks/dedup_hashes.py
"""

import argparse
import platform
import resource
import time
from importlib import metadata
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tumorcls.data.dedup.hamming import pairs_within

_COUNT, _DISTANCE = 100_000, 10


def synthetic(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """Returns hashes of which the second half are neighbours, 0 to 10 bits away, of the first."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2**64, count // 2, dtype=np.uint64)
    bits = np.zeros(len(first), np.uint64)
    for _ in range(_DISTANCE):
        flip = rng.random(len(first)) < 0.5
        bits ^= np.where(flip, np.uint64(1) << rng.integers(0, 64, len(first), dtype=np.uint64), np.uint64(0))
    return np.concatenate([first, first ^ bits])


def candidates_of_multi_index(hashes: npt.NDArray[np.uint64]) -> int:
    """Counts the comparisons that multi-index hashing would make: pairs that share one of the distance + 1 substrings."""
    edges = np.linspace(0, 64, _DISTANCE + 2).round().astype(int)
    total = 0
    for low, high in pairwise(edges.tolist()):
        part = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        sizes = np.bincount(part.astype(np.int64)).astype(np.int64)
        total += int((sizes * (sizes - 1) // 2).sum())
    return total


def main() -> None:
    """Prints time, pairs and peak memory."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    hashes = synthetic(_COUNT, 0)
    start = time.perf_counter()
    pairs = np.concatenate(list(pairs_within(hashes, _DISTANCE)))
    seconds = time.perf_counter() - start
    planted = np.isin(np.arange(_COUNT // 2), pairs[pairs[:, 1] - pairs[:, 0] == _COUNT // 2, 0]).mean()
    every = _COUNT * (_COUNT - 1) // 2
    print(f"{platform.machine()}, python {platform.python_version()}, numpy {metadata.version('numpy')}")
    print(f"{_COUNT:,} hashes, distance {_DISTANCE}: {len(pairs):,} pairs in {seconds:.1f} s on one core (bar: 60 s)")
    print(f"planted neighbours found: {planted:.4f}")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB (bar: 2048 MB)")
    share = candidates_of_multi_index(hashes) / every
    print(f"comparisons: {every:,}; multi-index hashing would make {share:.0%} of them, each a random access")


if __name__ == "__main__":
    main()
