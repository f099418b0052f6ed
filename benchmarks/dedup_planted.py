"""How many planted copies does the grouping find, and how many strangers does it join?

500 pictures and 300 copies of them: re-encoded at JPEG quality 40, resized by half and back, cropped by 2% on every side,
brightness changed by 10% up or down, mild noise (standard deviation 6 of 255), mirrored. All other pairs are strangers.

    python benchmarks/dedup_planted.py                       # phantoms
    python benchmarks/dedup_planted.py --images DIR [DIR...] # real pictures, one of each group of copies
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tumorcls.data.dedup.groups import MAX_DISTANCE, MIN_SIMILARITY, find_groups
from tumorcls.data.images import read_image
from tumorcls.data.labels import CLASSES
from tumorcls.data.manifest import scan

Grey = npt.NDArray[np.uint8]
Change = Callable[[Grey, np.random.Generator], Grey]


def _jpeg(image: Grey, quality: int) -> Grey:
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    return decoded.astype(np.uint8)


def _half_and_back(image: Grey, _: np.random.Generator) -> Grey:
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _crop(image: Grey, _: np.random.Generator) -> Grey:
    top, left = (max(1, round(side * 0.02)) for side in image.shape)
    return np.ascontiguousarray(image[top:-top, left:-left])


def _brightness(image: Grey, rng: np.random.Generator) -> Grey:
    factor = 0.9 if rng.random() < 0.5 else 1.1
    changed: Grey = np.clip(image * factor, 0, 255).astype(np.uint8)
    return changed


def _noise(image: Grey, rng: np.random.Generator) -> Grey:
    noisy: Grey = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return noisy


CHANGES: dict[str, Change] = {
    "JPEG quality 40": lambda image, _: _jpeg(image, 40),
    "half and back": _half_and_back,
    "crop 2%": _crop,
    "brightness +-10%": _brightness,
    "mild noise": _noise,
    "mirrored": lambda image, _: np.ascontiguousarray(image[:, ::-1]),
}


def _phantoms(count: int, rng: np.random.Generator, size: int) -> list[Grey]:
    from tumorcls.data.phantom import render

    return [np.asarray(render(CLASSES[i % len(CLASSES)], rng, size), dtype=np.uint8) for i in range(count)]


def _real(folders: list[str], count: int, rng: np.random.Generator, cache: Path) -> list[Grey]:
    manifest = scan(folders, cache)
    first = np.unique(find_groups(manifest, cache).images)
    chosen = rng.choice(first, count, replace=False)
    return [cv2.cvtColor(read_image(manifest.entries[i].path), cv2.COLOR_RGB2GRAY).astype(np.uint8) for i in chosen]


def _write(path: Path, image: Grey) -> None:
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def main() -> None:
    """Plants copies, groups, and prints recall by kind of copy and precision over all pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", metavar="DIR")
    parser.add_argument("--originals", type=int, default=500)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--size", type=int, default=256, help="of a phantom")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if options.images:
            originals = _real(options.images, options.originals, rng, root / "cache")
        else:
            originals = _phantoms(options.originals, rng, options.size)
        folder = root / "planted" / "glioma"
        folder.mkdir(parents=True)
        kinds = list(CHANGES)
        for i, image in enumerate(originals):
            _write(folder / f"{i:04d}.png", image)
        planted = rng.choice(len(originals), options.copies, replace=False).tolist()
        for k, i in enumerate(planted):
            _write(folder / f"{i:04d}-copy.png", CHANGES[kinds[k % len(kinds)]](originals[i], rng))
        manifest = scan([root / "planted"], root / "cache")
        groups = find_groups(manifest).images
    _report(options, [Path(entry.name).stem for entry in manifest.entries], groups, planted)


def _report(options: argparse.Namespace, names: list[str], groups: npt.NDArray[np.int64], planted: list[int]) -> None:
    group_of = dict(zip(names, groups.tolist(), strict=True))
    found = [group_of[f"{i:04d}"] == group_of[f"{i:04d}-copy"] for i in planted]
    sizes = np.bincount(groups)
    joined = int((sizes * (sizes - 1) // 2).sum())
    print(f"python {platform.python_version()}, numpy {metadata.version('numpy')}, imagehash {metadata.version('imagehash')}")
    print(f"{len(names) - len(planted)} {'real pictures' if options.images else 'phantoms'}, {len(planted)} copies")
    print(f"hash distance at most {MAX_DISTANCE}, similarity at least {MIN_SIMILARITY}")
    for k, kind in enumerate(CHANGES):
        part = found[k :: len(CHANGES)]
        print(f"  recall, {kind:<18}{sum(part) / len(part):.3f}  ({sum(part)} of {len(part)})")
    print(f"recall of planted pairs   {sum(found) / len(found):.4f}  (bar: at least 0.95)")
    print(f"precision of joined pairs {sum(found) / max(joined, 1):.4f}  (bar: at least 0.99; {joined} pairs joined)")


if __name__ == "__main__":
    main()
