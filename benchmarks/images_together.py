"""How long EfficientNetB0 takes for an image on a CPU, by how many go through it together.

    python -m benchmarks.images_together              # five minutes

Random weights and images: neither changes the arithmetic. The sizes of batches in turn, in one process; milliseconds an image,
of several rounds the median. `images_together` should choose one of the fastest, whatever the number of threads.
"""

import argparse
import os
import platform
import statistics
import time

import numpy as np

from tumorcls.model.backend import package_versions, select_backend

IMAGE_SIZES = (64, 112, 150, 224)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
IMAGES = 128


def milliseconds(image_size: int, rounds: int) -> dict[int, float]:
    """Returns what an image takes for each size of batch."""
    from tumorcls.model.backbone import build_backbone

    network = build_backbone(image_size, "none")
    images = np.random.default_rng(0).uniform(0, 255, (IMAGES, image_size, image_size, 3)).astype(np.float32)
    taken: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(1 + rounds):  # the first one compiles
        for batch, seconds in taken.items():
            begun = time.perf_counter()
            for first in range(0, IMAGES, batch):
                np.asarray(network.predict_on_batch(images[first : first + batch]))
            seconds.append(time.perf_counter() - begun)
    return {batch: 1000 * statistics.median(seconds[1:]) / IMAGES for batch, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    backend = select_backend()
    from tumorcls.model.pieces import images_together

    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {package_versions()}, on {backend}")
    print(f"milliseconds an image, median of {arguments.rounds}; *: what images_together chooses")
    print("together" + "".join(f"{batch:9}" for batch in BATCHES))
    for image_size in IMAGE_SIZES:
        chosen = images_together(image_size)
        cells = milliseconds(image_size, arguments.rounds)
        print(
            f"{image_size:4} px " + "".join(f"{taken:8.1f}{'*' if batch == chosen else ' '}" for batch, taken in cells.items())
        )


if __name__ == "__main__":
    main()
