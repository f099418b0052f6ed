"""How long do scan, hash and group take on real folders, from cold and from warm?

python benchmarks/dedup_real.py DIR [DIR...]
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from tumorcls.data.dedup.groups import find_groups
from tumorcls.data.manifest import scan
from tumorcls.data.prepare import prepare
from tumorcls.data.split import SplitSettings


def main() -> None:
    """Prints seconds of wall and processor time, and the groups found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="DIR", help="of images, as `tumorcls prepare` takes them")
    folders = parser.parse_args().folders
    packages = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("numpy", "opencv-python-headless", "imagehash", "pillow")
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f}, python {platform.python_version()}, {packages}")
    with tempfile.TemporaryDirectory() as name:
        start, used = time.perf_counter(), time.process_time()
        manifest = scan(folders, Path(name))
        scanned = time.perf_counter()
        groups = find_groups(manifest, Path(name)).images
        grouped = time.perf_counter()
        used = time.process_time() - used
        print(f"{len(manifest.entries):,} images: scan and hash {scanned - start:.1f} s, group {grouped - scanned:.1f} s")
        print(f"cold {grouped - start:.1f} s wall (bar: 20 s), {used:.1f} s processor time")
        start = time.perf_counter()
        data = prepare(folders, SplitSettings(), Path(name))
        print(f"warm, with the split: {time.perf_counter() - start:.2f} s (bar: 2 s)")
    used_parts = data.parts != "left_out"
    straddling = sum(len(set(data.parts[used_parts & (groups == group)].tolist())) > 1 for group in np.unique(groups))
    sizes = np.sort(np.bincount(groups))[::-1]
    print(f"{len(np.unique(groups)):,} groups, the largest {sizes[:5].tolist()}; straddling the split: {straddling} (bar: 0)")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
