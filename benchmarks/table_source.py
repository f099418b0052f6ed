"""What does a table cost? The same 9,000 images prepared as a folder of class folders, and as a table with a row for each.

    python -m benchmarks.table_source | tee benchmarks/results/table_source.txt

The images are small JPEGs drawn for the purpose, a fifth of them near-duplicates, as in the public sets. Both ways are prepared
several times in turn: with an empty cache, where every file is read, and once more, where none is. Seconds are those of the
processor, all threads together, which another's work on the machine disturbs less; those of the clock stand beside them.
"""

import argparse
import csv
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from tumorcls.data.labels import CLASSES
from tumorcls.data.prepare import prepare
from tumorcls.data.split import SplitSettings

_IMAGES, _SIDE, _TURNS, _BAR = 9_000, 128, 3, 1.2
_PER_PATIENT = 6


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
    for number in range(_IMAGES):
        if number % 5 != 4:  # else once more what was drawn last, at another quality
            noise = rng.normal(0, 1, (_SIDE, _SIDE))
            texture = cv2.GaussianBlur(noise, (0, 0), 5)
            picture = (128 + 110 * texture / np.abs(texture).max()).astype(np.uint8)
        path = folder / CLASSES[number // 5 % 4] / f"{number}.jpg"
        cv2.imwrite(os.fspath(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 70 + number % 5 * 5])


def write_table(folder: Path, table: Path) -> None:
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "source"])
        for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
            writer.writerow([path.relative_to(table.parent), path.parent.name, number // _PER_PATIENT, f"ward {number % 3}"])


def seconds(place: Path, cache: Path) -> tuple[float, float]:
    begun, of_clock = time.process_time(), time.perf_counter()
    data = prepare([place], SplitSettings(), cache)
    assert len(data.parts) == _IMAGES
    return time.process_time() - begun, time.perf_counter() - of_clock


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_images(root / "images")
        write_table(root / "images", root / "images.csv")
        places = {"folder": root / "images", "table": root / "images.csv"}
        times: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for turn in range(_TURNS):
            for what in list(places)[:: 1 if turn % 2 else -1]:
                for state in ("first", "again"):
                    times.setdefault((what, state), []).append(seconds(places[what], root / f"cache of {what}"))
                shutil.rmtree(root / f"cache of {what}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, python {platform.python_version()}")
    print(f"{_IMAGES:,} JPEGs of {_SIDE}x{_SIDE}, prepared {_TURNS} times each; median seconds")
    for state, meaning in (("first", "with an empty cache"), ("again", "with nothing changed")):
        for clock, name in enumerate(("processor", "clock")):
            folder, table = (median(pair[clock] for pair in times[what, state]) for what in ("folder", "table"))
            bar = f" (bar: {_BAR})" if (state, name) == ("first", "processor") else ""
            print(f"{meaning}, {name}: folder {folder:.2f}, table {table:.2f}, that is {table / folder:.2f} times{bar}")


if __name__ == "__main__":
    main()
