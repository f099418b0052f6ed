"""What spoils scans and no training draws: corruptions that only `tumorcls evaluate` applies, to see how a model does on them.

Forms and severities are those of Di Salvo et al. 2024, MedMNIST-C (https://github.com/francescodisalvo05/medmnistc-api): of its
organ sets, CT slices, where they have the corruption, and else of the set that is named. Lengths there are in pixels of images
of 224 x 224; here they are taken as shares of the image's side.

Of the organ sets' thirteen corruptions `contrast_up`, `gaussian_blur` (defocus stands in its place, without its alias blur) and
`shot_noise` are left out, and `rician`, `ghosting` and `bias_field` are not MedMNIST-C's: no mean over these is one of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorcls.noise.kinds import NOISES, SEED_NOISES, Image

REFERENCE_SIDE = 224
"""Pixels a side of MedMNIST-C's images."""

_MOTION_DEGREES = 45.0  # either way from the horizontal, as in MedMNIST-C
_SUBPIXELS = 8  # a side: how finely a disk's edge is drawn

Parameters = tuple[float, ...]


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        apply: (image, parameters, generator) -> corrupted image, float32 of shape (h, w, c), not yet clipped to [0, 1].
        severities: Its parameters at severity 1 to 5.
        parameter: What they are.
    """

    apply: Callable[[Image, Parameters, np.random.Generator], Image]
    severities: tuple[Parameters, ...]
    parameter: str


def unseen_kinds(seen: tuple[str, ...]) -> tuple[str, ...]:
    """Returns what a model can be measured under besides the noises that it, or the search that chose it, has seen."""
    return (*UNSEEN, *(noise for noise in NOISES if noise not in (*SEED_NOISES, *seen)))


def corrupt_unseen(image: Image, kind: str, severity: int, generator: np.random.Generator) -> Image:
    """Corrupts an image, float32 of shape (h, w, c) in [0, 1], with a kind from `UNSEEN` at a severity from 1 to 5.

    Returns:
        float32 of the same shape, clipped to [0, 1].
    """
    corruption = UNSEEN[kind]
    corrupted = corruption.apply(image, corruption.severities[severity - 1], generator)
    clipped: Image = np.clip(corrupted, 0.0, 1.0, dtype=np.float32)
    return clipped


def motion_blur(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Draws a trail behind every pixel: the patient moves on a straight line, in a direction that is drawn.

    As ImageMagick's ``-motion-blur``: the trail of a radius r has 2 r + 1 places, whose weights are half a normal curve.
    """
    scale = image.shape[1] / REFERENCE_SIDE
    radius, sigma = (length * scale for length in parameters)
    angle = np.deg2rad(generator.uniform(-_MOTION_DEGREES, _MOTION_DEGREES))
    steps = np.arange(2 * max(1, round(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    rows, columns = (np.rint(steps * part).astype(int) for part in (np.sin(angle), np.cos(angle)))
    kernel = np.zeros((2 * len(steps) - 1,) * 2, np.float32)
    np.add.at(kernel, (len(steps) - 1 + rows, len(steps) - 1 + columns), weights / weights.sum())
    return _filtered(image, kernel, cv2.BORDER_REPLICATE)


def defocus_blur(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Spreads every pixel over a disk."""
    return _filtered(image, disk(parameters[0] * image.shape[1] / REFERENCE_SIDE), cv2.BORDER_REFLECT_101)


def disk(radius: float) -> NDArray[np.float32]:
    """Returns what share of a disk lies on each pixel: float32 (n, n) with n odd, adding up to 1; `radius` is in pixels."""
    half = int(np.ceil(max(radius - 0.5, 0.0)))
    places = (np.arange((2 * half + 1) * _SUBPIXELS) + 0.5) / _SUBPIXELS - (half + 0.5)
    inside = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float32)
    shares = inside.reshape(2 * half + 1, _SUBPIXELS, 2 * half + 1, _SUBPIXELS).sum(axis=(1, 3))
    kernel: NDArray[np.float32] = shares / shares.sum()
    return kernel


def contrast(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Returns m + c (x - m), with m the mean grey value of the image."""
    mean = np.float32(image.mean())
    return mean + np.float32(parameters[0]) * (image - mean)


def brightness(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Returns b x."""
    return np.float32(parameters[0]) * image


def gamma(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Returns x^g: above 1 the greys become darker, below 1 lighter; black and white stay."""
    corrected: Image = image ** np.float32(parameters[0])
    return corrected


def pixelate(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Averages areas into fewer pixels and shows these at the old size: a scan of low resolution."""
    height, width = image.shape[:2]
    small = (max(1, int(width * parameters[0])), max(1, int(height * parameters[0])))
    fewer = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return _planes(cv2.resize(fewer, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), image)


def jpeg_compression(image: Image, parameters: Parameters, generator: np.random.Generator) -> Image:
    """Writes and reads the image as JPEG."""
    pixels = np.rint(image * np.float32(255)).astype(np.uint8)[..., ::-1]
    done, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(parameters[0])])
    assert done, "an array of bytes can be written as JPEG"
    read = cv2.imdecode(content, cv2.IMREAD_COLOR if image.shape[2] == 3 else cv2.IMREAD_GRAYSCALE)
    assert read is not None
    return _planes(read, image)[..., ::-1] / np.float32(255)


def _filtered(image: Image, kernel: NDArray[np.float32], border: int) -> Image:
    return _planes(cv2.filter2D(image, -1, kernel, borderType=border), image)


def _planes(pixels: NDArray[Any], like: Image) -> Image:
    """Gives back the axis of channels, which OpenCV drops where there is one."""
    return pixels.astype(np.float32, copy=False).reshape(like.shape)


def _each(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


UNSEEN: Mapping[str, Corruption] = MappingProxyType(
    {
        # BreastMNIST's, the mildest that MedMNIST-C has for a grey-scale set (ImageMagick's motion blur).
        "motion_blur": Corruption(
            motion_blur,
            ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12)),
            f"radius and standard deviation of the trail, in pixels of {REFERENCE_SIDE}",
        ),
        # PathMNIST's; its standard deviations, half the radius, are near those of the organ sets' Gaussian blur.
        "defocus_blur": Corruption(defocus_blur, _each(3, 4, 5, 6, 7), f"radius of the disk, in pixels of {REFERENCE_SIDE}"),
        "contrast_down": Corruption(contrast, _each(0.8, 0.7, 0.6, 0.55, 0.5), "share of the contrast that is left"),
        "brightness_up": Corruption(brightness, _each(1.2, 1.3, 1.4, 1.5, 1.6), "factor"),
        "brightness_down": Corruption(brightness, _each(0.8, 0.75, 0.7, 0.65, 0.6), "factor"),
        "gamma_up": Corruption(gamma, _each(1.3, 1.4, 1.6, 1.8, 2.0), "exponent"),
        "gamma_down": Corruption(gamma, _each(0.9, 0.8, 0.7, 0.6, 0.4), "exponent"),
        "pixelate": Corruption(pixelate, _each(0.7, 0.6, 0.5, 0.4, 0.35), "share of the pixels that is left, along each axis"),
        "jpeg_compression": Corruption(jpeg_compression, _each(50, 30, 15, 10, 7), "quality"),
    }
)
"""Corruptions by name, MedMNIST-C's but for its ``gamma_corr``. No setting of a training or of a search can name one."""
