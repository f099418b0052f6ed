"""What the checksums of the cache cost: an entry read and compared in a fresh process state, beside the same file only read.

    python -m benchmarks.cache_checks

Needs no data: entries are random, of the shapes that SARTAJ's 2,275 training images have at 150 pixels.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache import arrays
from tumorcls.cache.arrays import ArrayCache, Stored

IMAGES = 2275
ENTRIES = {
    "head: pooled activations of a view": ((IMAGES, 1280), np.float16),
    "block7: activations of a view": ((IMAGES, 5, 5, 192), np.float16),
    "decoded images": ((IMAGES, 150, 150, 3), np.uint8),
}
ROUNDS = 9


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cores, load = os.cpu_count(), os.getloadavg()[0]
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    print(f"{platform.machine()}, {cores} cores, load {load:.1f}, {versions}")
    print(f"median of {ROUNDS} rounds, file in the system's page cache")
    print(f"{'entry':36} {'MB':>6} {'read, ms':>9} {'read and compared, ms':>22} {'more, ms':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (shape, dtype) in ENTRIES.items():
            rng = np.random.default_rng(0)
            content = rng.integers(0, 255, shape).astype(dtype)
            key = name.partition(":")[0].replace(" ", "-")
            entry = ArrayCache(Path(folder)).get(key, shape, dtype, partial(_rows, content))
            pairs = [(_seconds(entry.path.read_bytes), _seconds(partial(_read_anew, entry))) for _ in range(ROUNDS)]
            plain, checked = (1000 * median(times) for times in zip(*pairs, strict=True))
            print(f"{name:36} {content.nbytes / 1e6:6.0f} {plain:9.1f} {checked:22.1f} {checked - plain:9.1f}")


def _rows(content: NDArray[Any]) -> list[NDArray[Any]]:
    return [content]


def _read_anew(entry: Stored) -> None:
    arrays._HELD = arrays._Held()  # as in a process that has read nothing yet
    entry[:]


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
