"""What noise does to an image: the NumPy reference of each kind, and the physical meaning of its intensity.

`tumorcls.noise.layer` draws the same noises inside a training program; tests hold the two to the same distributions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

NoiseName = Literal["gaussian", "salt_pepper", "speckle", "rician", "ghosting", "bias_field"]

SEED_NOISES: tuple[NoiseName, ...] = ("gaussian", "salt_pepper", "speckle")
"""The noises of the notebook that this project grew from, and of a training by default. The others are a scanner's."""

MIN_GHOST_SHIFT, MAX_GHOST_SHIFT = 0.1, 0.5
"""Ghosts lie this far from the object, as a fraction of the image: motion with a period of 10 to 2 phase-encoding steps."""

BIAS_ORDER = 3
"""Order of the bias field's polynomial: TorchIO's default, and enough for the smooth fields of Van Leemput et al. 1999."""


@dataclass(frozen=True)
class Noise:
    """One kind of noise.

    Attributes:
        apply: (image, physical parameter, generator) -> noisy image; see `add_noise`.
        severities: The physical parameter at severity 1 to 5.
        parameter: What the physical parameter is. 1 is the full range of values, from black to white.
    """

    apply: Callable[[Image, np.float32, np.random.Generator], Image]
    severities: tuple[float, float, float, float, float]
    parameter: str

    @property
    def maximum(self) -> float:
        """The physical parameter at intensity 1, to which it is proportional: so training can cover all that is measured."""
        return self.severities[-1]


def add_noise(image: Image, noise: str, intensity: float, generator: np.random.Generator) -> Image:
    """Adds one kind of noise to an image.

    All channels get the same draw, because they show the same grey values.

    Args:
        image: float32 of shape (h, w) or (h, w, c), in [0, 1].
        noise: A name from `NOISES`.
        intensity: In [0, 1]; 0 returns the image as it is.
        generator: Fixes the draw. How many numbers it is asked for depends on the noise and the image's size only.

    Returns:
        float32 of the same shape, clipped to [0, 1].
    """
    planes = image if image.ndim == 3 else image[:, :, None]
    kind = NOISES[noise]
    noisy = kind.apply(planes, np.float32(kind.maximum * intensity), generator)
    clipped: Image = np.clip(noisy, 0.0, 1.0, dtype=np.float32)
    return clipped.reshape(image.shape)


def gaussian(image: Image, sigma: np.float32, generator: np.random.Generator) -> Image:
    """Returns x + n with n ~ N(0, sigma^2): the noise of receiver and electronics where the signal is strong."""
    return image + sigma * _normal(image, generator)


def salt_pepper(image: Image, fraction: np.float32, generator: np.random.Generator) -> Image:
    """Turns a fraction of the pixels black or white with equal chance: dead and saturated samples."""
    u = generator.random((*image.shape[:2], 1), dtype=np.float32)
    noisy: Image = np.where(u < fraction / 2, np.float32(0), np.where(u >= 1 - fraction / 2, np.float32(1), image))
    return noisy


def speckle(image: Image, sigma: np.float32, generator: np.random.Generator) -> Image:
    """Returns x + x * n with n ~ N(0, sigma^2): noise in proportion to the signal; black stays black."""
    return image + image * (sigma * _normal(image, generator))


def rician(image: Image, sigma: np.float32, generator: np.random.Generator) -> Image:
    """Returns sqrt((x + n1)^2 + n2^2) with n1, n2 ~ N(0, sigma^2): an MR magnitude image of a noisy complex signal.

    Where x is much larger than sigma it is close to `gaussian`; on the black background it is Rayleigh noise with mean
    1.25 sigma, so that dark parts become brighter.
    """
    real, imaginary = image + sigma * _normal(image, generator), sigma * _normal(image, generator)
    if sigma == 0:
        return image  # sqrt(x^2) is not always x in float32
    magnitude: Image = np.sqrt(real**2 + imaginary**2)
    return magnitude


def ghosting(image: Image, share: np.float32, generator: np.random.Generator) -> Image:
    """Moves a share of the signal to two ghosts, one on either side along the phase-encoding axis: periodic motion.

    Weighting the phase-encoding lines k by 1 - a + a cos(2 pi k d / n) turns the image x into (1 - a) x plus a / 2 of x shifted
    by d and by -d, around the edge; a is the share. The axis is drawn, and d uniformly from `MIN_GHOST_SHIFT` to
    `MAX_GHOST_SHIFT` of its n pixels.
    """
    axis = int(generator.integers(2))
    shift = round(float(generator.uniform(MIN_GHOST_SHIFT, MAX_GHOST_SHIFT)) * image.shape[axis])
    ghosts: Image = (np.roll(image, shift, axis) + np.roll(image, -shift, axis)) / np.float32(2)
    return image + share * (ghosts - image)


def bias_field(image: Image, largest: np.float32, generator: np.random.Generator) -> Image:
    """Multiplies by exp(p), p a cubic polynomial with coefficients ~ U(-c, c): the uneven sensitivity of the receiver coil."""
    basis = bias_basis(*image.shape[:2])
    coefficients = generator.uniform(-1, 1, len(basis)).astype(np.float32)
    field = np.exp(largest * np.tensordot(coefficients, basis, axes=1))
    noisy: Image = image * field[:, :, None]
    return noisy


def bias_basis(height: int, width: int) -> NDArray[np.float32]:
    """Returns the monomials y^i x^j with 1 <= i + j <= `BIAS_ORDER`, coordinates from -1 to 1 across the image.

    The constant is left out: it would change the brightness, not its evenness.

    Returns:
        float32 of shape (9, height, width), in [-1, 1].
    """
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    powers = [(i, j) for i in range(BIAS_ORDER + 1) for j in range(BIAS_ORDER + 1 - i) if i + j > 0]
    return np.stack([y**i * x**j for i, j in powers]).astype(np.float32)


def _normal(image: Image, generator: np.random.Generator) -> Image:
    return generator.standard_normal((*image.shape[:2], 1), dtype=np.float32)


NOISES: Mapping[str, Noise] = MappingProxyType(
    {
        # Di Salvo et al. 2024, MedMNIST-C, the organ sets.
        "gaussian": Noise(gaussian, (0.04, 0.08, 0.12, 0.16, 0.20), "standard deviation"),
        "salt_pepper": Noise(salt_pepper, (0.01, 0.02, 0.03, 0.05, 0.08), "fraction of pixels, half of them black"),
        "speckle": Noise(speckle, (0.05, 0.10, 0.20, 0.30, 0.40), "standard deviation relative to the signal"),
        # Gudbjartsson & Patz 1995, eq. 1. Severities are gaussian's, which it tends to where the signal is strong, so that the
        # two differ only in what the magnitude does to dark parts. The first two lie in the range of BrainWeb's simulated scans
        # (1 to 9% of the brightest tissue, Collins et al. 1998), the others beyond what is usual.
        "rician": Noise(rician, (0.04, 0.08, 0.12, 0.16, 0.20), "standard deviation of the real and of the imaginary part"),
        # Wood & Henkelman 1985 (periodic motion). Even steps up to two ghosts of a quarter each, as strong as the strongest of
        # TorchIO's RandomGhosting (four ghosts at intensity 1: a quarter each); at the first a ghost has 5%.
        "ghosting": Noise(ghosting, (0.10, 0.20, 0.30, 0.40, 0.50), "share of the signal that goes to ghosts"),
        # Van Leemput et al. 1999 (log-polynomial field). Even steps up to TorchIO's RandomBiasField (coefficients up to 0.5,
        # order 3). Half way from the centre to a corner the field's standard deviation is 10% at the second, like that of
        # BrainWeb's 40% field (0.8 to 1.2), and 25% at the last.
        "bias_field": Noise(
            bias_field, (0.10, 0.20, 0.30, 0.40, 0.50), "largest coefficient of the polynomial in the exponent"
        ),
    }
)
"""Every noise by name."""
