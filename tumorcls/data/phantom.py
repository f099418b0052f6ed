"""Generated brain-like slices of the four classes, for a demo and tests that need no data.

They imitate what decides the class in a real slice, and nothing of its physics: a glioma is irregular, inside the brain, with a
bright rim around a dark core; a meningioma is smooth, even and sits on the dura; a pituitary tumour is small, on the midline,
above the sella; and slices of every kind come without a lesion (Louis et al., WHO Classification of Tumors of the Central
Nervous System, 2021, describes the three). A model that is good on phantoms says nothing about patients.
"""

import contextlib
import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.cache.folder import make_folder
from tumorcls.data.labels import CLASSES
from tumorcls.errors import DataError, reason
from tumorcls.files import replacing, temporary_folder

Field = NDArray[np.float32]

DEFAULT_SIZE = 192

MAX_IMAGES = 100_000
"""So many take 700 MB on disk; a larger number, in a stranger's model or study file say, would fill it."""

_VERSION = 1  # raised when the same seed gives other pictures
_SPEC = re.compile(r"phantoms:(?P<images>[0-9]{1,18})(?::(?P<seed>[0-9]{1,18}))?")
_FOLDERS = {"glioma": "glioma_tumor", "meningioma": "meningioma_tumor", "no_tumor": "no_tumor", "pituitary": "pituitary_tumor"}
_PREFIXES = {"glioma": "gg", "meningioma": "m", "no_tumor": "image", "pituitary": "p"}


@dataclass(frozen=True)
class _Contrast:
    """Brightness in [0, 1] of each tissue in one kind of sequence; `lesion` is what takes up contrast agent or water."""

    fat: float
    bone: float
    fluid: float
    grey: float
    white: float
    lesion: float
    core: float
    oedema: float


_CONTRASTS = (
    _Contrast(fat=0.85, bone=0.08, fluid=0.12, grey=0.42, white=0.55, lesion=0.95, core=0.18, oedema=0.32),  # T1 with agent
    _Contrast(fat=0.55, bone=0.06, fluid=0.10, grey=0.48, white=0.38, lesion=0.90, core=0.25, oedema=0.72),  # FLAIR
    _Contrast(fat=0.60, bone=0.05, fluid=0.68, grey=0.46, white=0.28, lesion=0.97, core=0.15, oedema=0.60),  # T2
)


@dataclass(frozen=True)
class _Head:
    """A head in its own coordinates.

    Attributes:
        u: Left to right, 0 on the midline.
        v: Front to back, negative in front.
        radius: 0 in the centre and 1 at the skin, in every direction.
        basal: Whether the slice lies at the height of the sella, below the ventricles.
    """

    u: Field
    v: Field
    radius: Field
    basal: bool


_INNER_SKULL = 0.84
_BRAIN = 0.79


def render(label: str, rng: np.random.Generator, size: int = DEFAULT_SIZE) -> NDArray[np.uint8]:
    """Draws one slice.

    Args:
        label: One of `tumorcls.data.labels.CLASSES`.
        rng: Fixes the picture, with `label` and `size`.
        size: Width and height in pixels.

    Returns:
        Grey-scale uint8 of shape (size, size), in [0, 255], on a black background.

    Raises:
        ValueError: `label` is not a class.
    """
    CLASSES.index(label)
    contrast = _CONTRASTS[rng.integers(len(_CONTRASTS))]
    head = _draw_head(rng, size, basal=label == "pituitary" or rng.random() < 0.3)
    image = _draw_tissue(head, contrast, rng)
    lesions = {"glioma": _add_glioma, "meningioma": _add_meningioma, "pituitary": _add_pituitary}
    if label in lesions:
        image = lesions[label](image, head, contrast, rng)
    return _scan(image, head, rng)


def write_dataset(folder: Path, images: int, seed: int, size: int = DEFAULT_SIZE, copies: int = 0) -> None:
    """Writes phantoms as JPEG files in the layout of the SARTAJ set, names with blanks and brackets included.

    Args:
        folder: Gets `Training/CLASS_tumor/*.jpg`.
        images: How many in all; class counts differ by at most one.
        seed: Fixes every file. Picture i of a class depends on nothing else, so a larger set begins with the smaller one.
        size: Width and height in pixels.
        copies: How many of the images, the first of each class, get a copy beside them: mirrored, half as large, or
            compressed more, in turn. It is called like the image, with `copy` behind its number.

    Raises:
        DataError: There are to be more copies than images, the folder cannot be written or the disk is full.
    """
    if copies > images:
        raise DataError(f"copies: must be at most one of each of the {images:,} images; got {copies:,}. Ask for more images.")
    try:
        _write_classes(folder, images, seed, size, copies)
    except OSError as error:
        raise DataError(f"{folder}: must be writable; {reason(error)}. Choose another folder.") from None


def _write_classes(folder: Path, images: int, seed: int, size: int, copies: int = 0) -> None:
    with activity.counting("drawing images", images):
        for index, label in enumerate(CLASSES):
            target = folder / "Training" / _FOLDERS[label]
            target.mkdir(parents=True, exist_ok=True)
            for number in range(len(range(index, images, len(CLASSES)))):
                picture = render(label, np.random.default_rng([seed, index, number]), size)
                name = f"{_PREFIXES[label]} ({number + 1})"
                _write_jpeg(target / f"{name}.jpg", picture, 92)
                if number < len(range(index, copies, len(CLASSES))):
                    altered = (picture[:, ::-1], picture[::2, ::2], picture)[number % 3]
                    _write_jpeg(target / f"{name} copy.jpg", altered, 60)
                activity.advance()


def _write_jpeg(path: Path, picture: NDArray[np.uint8], quality: int) -> None:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    with replacing(path) as file:
        file.write(encoded.tobytes())


def materialise(spec: str, cache_dir: Path) -> Path:
    """Writes the phantoms that a data folder's stand-in asks for, once.

    Args:
        spec: `phantoms:N` or `phantoms:N:SEED`; N images, at least one of each class and at most `MAX_IMAGES`.
        cache_dir: Gets a folder of its own for each specification. Safe with several processes at once.

    Returns:
        The folder.

    Raises:
        DataError: The specification is wrong, or the folder cannot be written.
    """
    match = _SPEC.fullmatch(spec)
    if match is None or not len(CLASSES) <= int(match["images"]) <= MAX_IMAGES:
        raise DataError(
            f"data: generated images must be phantoms:N or phantoms:N:SEED with N from {len(CLASSES)} to {MAX_IMAGES:,}; "
            f'got {spec[:80]!r}. Write for example "phantoms:400".'
        )
    images, seed = int(match["images"]), int(match["seed"] or 0)
    folder = cache_dir / f"phantoms-v{_VERSION}-{images}-{seed}"
    try:
        if folder.is_dir():
            return folder
        make_folder(cache_dir)
        with temporary_folder(cache_dir) as partial:
            _write_classes(partial, images, seed, DEFAULT_SIZE)
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                os.rename(partial, folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # another process was first, with the same files
            raise DataError(
                f"{cache_dir}: the cache must be writable and have room; {reason(error)}. "
                "Free some space, or name another folder in TUMORCLS_CACHE."
            ) from None
    if not folder.is_dir():
        raise DataError(f"{folder}: must be free for generated images; got a file. Remove what is there.")
    return folder


def _draw_head(rng: np.random.Generator, size: int, basal: bool) -> _Head:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    x, y = x - rng.uniform(-0.07, 0.07), y - rng.uniform(-0.07, 0.07)
    angle = np.deg2rad(rng.normal(0, 9))
    u = np.cos(angle) * x + np.sin(angle) * y
    v = -np.sin(angle) * x + np.cos(angle) * y
    height = rng.uniform(0.74, 0.95)
    u, v = u / (height * rng.uniform(0.74, 0.9)), v / height
    radius = np.hypot(u, v) / _wobble(np.arctan2(v, u), rng, harmonics=(2, 3), amplitude=0.018)
    return _Head(u.astype(np.float32), v.astype(np.float32), radius.astype(np.float32), basal)


def _draw_tissue(head: _Head, contrast: _Contrast, rng: np.random.Generator) -> Field:
    size = len(head.u)
    folds = _texture(rng, size, scale=rng.uniform(0.016, 0.024))
    depth = _BRAIN - head.radius
    # Sulci reach from the surface inwards, and a ribbon of grey matter follows them.
    sulci = _soft(folds - 0.25 - 9.0 * depth, 0.2)
    ribbon = _soft(0.1 + 0.07 * folds - depth, 0.02)
    brain = contrast.white + (contrast.grey - contrast.white) * ribbon
    brain += (contrast.fluid - brain) * sulci
    brain += 0.025 * _texture(rng, size, scale=0.008) + 0.03 * _texture(rng, size, scale=0.05)
    fluid = _cistern(head, rng) if head.basal else _ventricles(head, rng)
    falx = np.exp(-np.square(head.u / 0.012)) * _soft(np.abs(head.v) - rng.uniform(0.3, 0.45), 0.03)
    brain += (contrast.fluid - brain) * np.maximum(fluid, 0.8 * falx)
    image = np.full_like(head.u, contrast.fat)
    for edge, value in ((rng.uniform(0.93, 0.96), contrast.bone), (_INNER_SKULL, contrast.fluid)):
        image += (value - image) * _soft(edge - head.radius, 0.008)
    image += (brain - image) * _soft(depth, 0.008)
    return image * _soft(1 - head.radius, 0.008)


def _ventricles(head: _Head, rng: np.random.Generator) -> Field:
    width, length, bend = rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.34), rng.uniform(0.1, 0.35)
    offset = rng.uniform(0.09, 0.14)
    fluid = np.zeros_like(head.u)
    for side in (-1, 1):
        uneven = rng.uniform(0.8, 1.2)
        across = (side * head.u - offset - bend * np.square(head.v)) / (width * uneven)
        fluid = np.maximum(fluid, _soft(1 - np.hypot(across, (head.v + 0.03) / length), 0.08))
    return fluid


def _cistern(head: _Head, rng: np.random.Generator) -> Field:
    """The star-shaped fluid space around the pituitary stalk, and the fourth ventricle behind it."""
    angle = np.arctan2(head.v - 0.12, head.u)
    star = rng.uniform(0.12, 0.17) * (1 + 0.4 * np.cos(5 * (angle + np.pi / 2)))
    front = _soft(1 - np.hypot(head.u, head.v - 0.12) / star, 0.1)
    back = _soft(1 - np.hypot(head.u / 0.08, (head.v - 0.48) / 0.06), 0.15)
    return np.maximum(front, back)


def _add_glioma(image: Field, head: _Head, contrast: _Contrast, rng: np.random.Generator) -> Field:
    size = len(image)
    side, angle = rng.choice([-1, 1]), rng.uniform(-1.2, 1.2)
    distance = rng.uniform(0.32, 0.52)
    du, dv = head.u - side * distance * np.cos(angle), head.v - distance * np.sin(angle)
    edge = rng.uniform(0.17, 0.3) * _wobble(np.arctan2(dv, du), rng, harmonics=(2, 3, 5, 7), amplitude=0.1)
    inside = np.hypot(du, dv) / edge + 0.1 * _texture(rng, size, scale=0.02)
    brain = _soft(_BRAIN - head.radius, 0.01)
    image = image + (contrast.oedema - image) * 0.8 * _soft(rng.uniform(1.35, 1.75) - inside, 0.12) * brain
    rim = contrast.lesion * (1 + 0.1 * _texture(rng, size, scale=0.03))
    image = image + (rim - image) * _soft(1 - inside, 0.05) * brain
    return image + (contrast.core - image) * _soft(rng.uniform(0.45, 0.68) - inside, 0.06) * brain


def _add_meningioma(image: Field, head: _Head, contrast: _Contrast, rng: np.random.Generator) -> Field:
    edge = rng.uniform(0.15, 0.27)
    if rng.random() < 0.2 and not head.basal:  # on the falx
        centre = rng.choice([-1, 1]) * edge * 0.8, rng.choice([-1, 1]) * rng.uniform(0.42, 0.5)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        reach = _INNER_SKULL - edge * rng.uniform(0.55, 0.85)
        centre = reach * np.cos(angle), reach * np.sin(angle)
    du, dv = head.u - centre[0], head.v - centre[1]
    inside = np.hypot(du, dv) / (edge * _wobble(np.arctan2(dv, du), rng, harmonics=(2, 3), amplitude=0.04))
    dura = _soft(_INNER_SKULL - head.radius, 0.008)
    image = image + (contrast.fluid - image) * 0.8 * _soft(1.12 - inside, 0.03) * dura
    return image + (rng.uniform(0.8, 0.95) * contrast.lesion - image) * _soft(1 - inside, 0.03) * dura


def _add_pituitary(image: Field, head: _Head, contrast: _Contrast, rng: np.random.Generator) -> Field:
    edge = rng.uniform(0.1, 0.16)
    du, dv = head.u - rng.normal(0, 0.015), head.v - 0.12 - rng.normal(0, 0.03)
    waist = 1 + 0.25 * np.cos(2 * np.arctan2(dv, du))
    inside = np.hypot(du, dv) / (edge * waist)
    image = image + (contrast.bone - image) * 0.9 * _soft(1.2 - inside, 0.06)  # its capsule, and bone and vessels beside it
    return image + (contrast.lesion * rng.uniform(0.88, 1.0) - image) * _soft(1 - inside, 0.05)


def _scan(image: Field, head: _Head, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Adds what the scanner does: an uneven field, a little blur, Rician noise, and a gain."""
    shade = 1 + rng.uniform(-0.22, 0.22) * head.u + rng.uniform(-0.22, 0.22) * head.v
    blurred = cv2.GaussianBlur(image * shade, (0, 0), sigmaX=float(rng.uniform(0.3, 0.9)) * len(image) / DEFAULT_SIZE)
    sigma = rng.uniform(0.005, 0.025)
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(sigma)
    measured = np.hypot(blurred + noise[0], noise[1])
    scaled = rng.uniform(0.75, 1.05) * np.power(np.clip(measured, 0, 1), rng.uniform(0.85, 1.2))
    return np.asarray(np.clip(np.rint(scaled * 255), 0, 255), dtype=np.uint8)


def _wobble(angle: NDArray[np.floating], rng: np.random.Generator, harmonics: tuple[int, ...], amplitude: float) -> Field:
    """Returns a closed outline around 1 as a function of the angle: each harmonic is normal with this deviation."""
    outline = np.ones_like(angle)
    for harmonic in harmonics:
        outline += rng.normal(0, amplitude) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.clip(outline, 0.4, 1.8), dtype=np.float32)


def _texture(rng: np.random.Generator, size: int, scale: float) -> Field:
    """Returns smooth noise of mean 0 and deviation 1; `scale` is its grain as a fraction of the width."""
    grid = min(size, round(2 / scale))  # a grain of two points is enough; coarse grain on a fine grid would be slow
    smooth = cv2.GaussianBlur(rng.standard_normal((grid, grid), dtype=np.float32), (0, 0), sigmaX=scale * grid)
    smooth = cv2.resize(smooth, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)


def _soft(signed_distance: NDArray[np.floating], width: float) -> Field:
    """Returns 0 outside, 1 inside, and a ramp of about `width` between, as partial volumes give in a scan."""
    return np.asarray(np.clip(signed_distance / width * 0.5 + 0.5, 0, 1), dtype=np.float32)
