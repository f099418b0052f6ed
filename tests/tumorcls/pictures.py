"""Small pictures and data folders for the tests of the data path."""

import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tumorcls.data.dataset import ImageSet
from tumorcls.data.labels import CLASSES
from tumorcls.data.phantom import write_dataset
from tumorcls.data.slices import Pixels


def blob(seed: int, size: int = 96) -> npt.NDArray[np.uint8]:
    """Draws a grey head with seeded contents: pictures of different seeds are strangers."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    head = (x / rng.uniform(0.6, 0.8)) ** 2 + (y / rng.uniform(0.7, 0.9)) ** 2 < 1
    texture = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), size / 16)
    values = 70 + 170 * texture / np.abs(texture).max()
    return np.where(head, values, 0).clip(0, 255).astype(np.uint8)


def write(path: Path, image: npt.NDArray[np.generic], quality: int = 95) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(path.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else [])
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def png_header(folder: Path, side: int) -> Path:
    """Writes a PNG that claims to be a square of so many pixels a side, and has none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path = folder / f"claims-{side}.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def colour(grey: npt.NDArray[np.uint8]) -> Pixels:
    return np.repeat(grey[:, :, None], 3, axis=2)


def kaggle_folder(root: Path, per_class: int = 4, *, sartaj: bool = False, seed: int = 0) -> Path:
    """Writes {Training,Testing}/class/*.png with different pictures."""
    names = ("glioma", "meningioma", "no", "pituitary") if sartaj else ("glioma", "meningioma", "notumor", "pituitary")
    number = seed * 100_000
    for split in ("Training", "Testing"):
        for name in names:
            for i in range(per_class):
                write(root / split / (f"{name}_tumor" if sartaj else name) / f"image ({i}).png", blob(number))
                number += 1
    return root


def sartaj_sample(folder: Path) -> Path:
    """Writes images in the SARTAJ layout: real ones where TUMORCLS_DATA names them, else phantoms; 24 of each class."""
    real = os.environ.get("TUMORCLS_DATA")
    if real is None:
        write_dataset(folder, images=96, seed=0, size=96)
        return folder
    for source in sorted((Path(real) / "sartaj" / "Training").iterdir()):
        target = folder / "Training" / source.name
        target.mkdir(parents=True)
        for path in sorted(source.iterdir())[:240:10]:
            shutil.copy(path, target)
    return folder


def image_set(
    labels: npt.NDArray[np.int64],
    *,
    images: npt.NDArray[np.uint8] | None = None,
    groups: npt.NDArray[np.int64] | None = None,
    keys: Sequence[str] | None = None,
    classes: tuple[str, ...] = CLASSES,
) -> ImageSet:
    """Returns a part of a data set; where none are given, it has grey images, each a group of its own."""
    count = len(labels)
    return ImageSet(
        np.full((count, 32, 32, 3), 128, np.uint8) if images is None else images,
        labels,
        np.arange(count) if groups is None else groups,
        classes,
        tuple(f"key-{i}" for i in range(count)) if keys is None else tuple(keys),
        "key",
    )
