"""What a model's gate stops and what it lets pass: its own test images, clean and corrupted, and pictures of other things.

    python -m benchmarks.gate model.keras --other photographs=FOLDER --other radiographs=FOLDER

Without folders of pictures: what scikit-learn ships (two photographs), noise, blurred noise, one grey value, and drawings of a
chest X-ray. Phantoms, which are drawn to be like slices, are shown apart. `docs/no-slice.md` shows what it printed.
"""

import argparse
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from tumorcls.cache.folder import cache_folder
from tumorcls.data.dataset import load_part
from tumorcls.data.images import fit_square, read_image
from tumorcls.data.labels import CLASSES
from tumorcls.data.phantom import render
from tumorcls.data.prepare import prepare
from tumorcls.inference.pictures import find_images
from tumorcls.model.backend import package_versions, select_backend
from tumorcls.noise.severity import KINDS, corrupt

Images = NDArray[np.uint8]

CROPS = 8
"""Square parts of each photograph, at random places and of 40 to 100% of its shorter side: as it is, and grey."""

DRAWN = 40
"""Pictures of each kind that is drawn."""


def main() -> None:
    """Prints a line for each kind of picture."""
    arguments = _parse()
    select_backend()
    from tumorcls.model.program import predict
    from tumorcls.model.saved_model import load_model
    from tumorcls.training.fit_gate import gate_extractor

    model = load_model(arguments.model)
    gate, config = model.gate, model.config
    assert gate is not None, "the model was trained before there were gates"

    extractor = gate_extractor(model.network)

    def passing(images: Images) -> NDArray[np.bool_]:
        return gate.passes(predict(images, extractor))

    test = load_part(prepare(config.data, config.split, cache_folder()), "test", config.image_size, cache_folder())
    some = test.rows(np.random.default_rng(0).permutation(len(test.labels))[: arguments.test_images])
    print(f"passes  {passing(test.images[:]).mean():6.1%} of {len(test.labels)} test images")
    for kind in KINDS:
        shares = [passing(corrupt(some.images[:], kind, severity, 0, some.keys)).mean() for severity in (3, 5)]
        print(f"passes  {shares[0]:6.1%} and {shares[1]:6.1%} of {len(some.labels)} at severity 3 and 5 of {kind}")
    stopped = []
    for name, images in no_slices(config.image_size, dict(arguments.other)):
        stopped.append(~passing(images))
        print(f"stops   {stopped[-1].mean():6.1%} of {len(images)}: {name}")
    print(f"stops   {np.concatenate(stopped).mean():6.1%} of {sum(map(len, stopped))} together")
    phantoms = drawn(config.image_size, _phantom)
    print(f"stops   {1 - passing(phantoms).mean():6.1%} of {len(phantoms)} phantoms, which are drawn to be like slices")
    print(f"{platform.machine()}, Python {platform.python_version()}, {package_versions()}")


def no_slices(size: int, folders: Mapping[str, Path]) -> Iterator[tuple[str, Images]]:
    """Yields the name of each kind of picture that is no slice, and images (n, size, size, 3) of it."""
    photographs = list(load_sample_images().images)
    found = {"photographs of scikit-learn": photographs}
    for name, folder in folders.items():
        found[name] = [read_image(path) for path in find_images([folder])]
    for name, pictures in found.items():
        images = parts_of(pictures, size)
        yield f"{name}, {len(pictures)} in {CROPS} parts each", images
        yield f"{name}, grey", np.stack([np.repeat(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)[..., None], 3, -1) for one in images])
    yield "noise", drawn(size, lambda rng, side: 255 * rng.random((side, side)))
    yield "blurred noise", drawn(size, _clouds)
    yield "one grey value", drawn(size, lambda rng, side: np.full((side, side), rng.uniform(0, 256)))
    yield "drawn chest X-rays", drawn(size, _chest)


def parts_of(pictures: list[Images], size: int) -> Images:
    """Returns `CROPS` square parts of each picture."""
    rng = np.random.default_rng(0)
    parts = []
    for picture in pictures:
        for _ in range(CROPS):
            side = int(min(picture.shape[:2]) * rng.uniform(0.4, 1))
            top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
            parts.append(fit_square(np.ascontiguousarray(picture[top : top + side, left : left + side]), size))
    return np.stack(parts)


def drawn(size: int, draw: Callable[[np.random.Generator, int], NDArray[np.floating]]) -> Images:
    """Returns `DRAWN` pictures of a kind."""
    rng = np.random.default_rng(0)
    return np.stack([np.repeat(draw(rng, size).clip(0, 255).astype(np.uint8)[..., None], 3, -1) for _ in range(DRAWN)])


def _clouds(rng: np.random.Generator, side: int) -> NDArray[np.floating]:
    clouds = cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), rng.uniform(1, 15))
    spread: NDArray[np.floating] = 255 * (clouds - clouds.min()) / np.ptp(clouds)
    return spread


def _chest(rng: np.random.Generator, side: int) -> NDArray[np.floating]:
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    chest = 200 * np.exp(-((x / 0.9) ** 4) - (y / 1.1) ** 4)
    for lung in (-1, 1):
        chest -= 120 * np.exp(-(((x - lung * rng.uniform(0.35, 0.5)) / 0.25) ** 2) - ((y + rng.uniform(0, 0.2)) / 0.55) ** 2)
    chest += 30 * np.cos(y * rng.uniform(20, 30) + 6 * x**2) * (abs(x) < 0.8) + 60 * np.exp(-((x / 0.1) ** 2))
    return np.asarray(cv2.GaussianBlur(chest + rng.normal(0, 5, chest.shape), (0, 0), 1.0), dtype=np.float64)


def _phantom(rng: np.random.Generator, side: int) -> NDArray[np.floating]:
    picture = render(CLASSES[int(rng.integers(len(CLASSES)))], rng, side).astype(np.float64)
    return picture if picture.ndim == 2 else picture.mean(axis=-1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a file of `tumorcls train`; its data must be where it was")
    parser.add_argument("--other", type=_named, action="append", default=[], metavar="NAME=FOLDER", help="pictures of no slice")
    parser.add_argument("--test-images", type=int, default=160, help="so many of them are corrupted")
    return parser.parse_args()


def _named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


if __name__ == "__main__":
    main()
