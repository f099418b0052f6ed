"""How hard is a test under noise? Five severities per noise, and images corrupted alike by everyone who measures."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tumorcls.noise.kinds import NOISES, add_noise
from tumorcls.noise.unseen import UNSEEN, corrupt_unseen

SEVERITIES: Mapping[str, tuple[float, ...]] = {name: noise.severities for name, noise in NOISES.items()}
"""Physical parameter of each noise (see `tumorcls.noise.kinds.NOISES`) at severity 1 to 5."""

KINDS: tuple[str, ...] = (*NOISES, *UNSEEN)
"""All that an image can be corrupted with."""

SEVERITY_LEVELS: tuple[int, ...] = (1, 2, 3, 4, 5)


def intensity_of(noise: str, severity: int) -> float:
    """Returns the intensity in (0, 1] that a severity from 1 to 5 stands for."""
    return SEVERITIES[noise][severity - 1] / NOISES[noise].maximum


def parameter_of(kind: str, severity: int) -> str:
    """Returns the parameter at a severity, such as ``0.04``; where there are several, all of them."""
    values = UNSEEN[kind].severities[severity - 1] if kind in UNSEEN else (SEVERITIES[kind][severity - 1],)
    return ", ".join(f"{value:g}" for value in values)


def meaning_of(kind: str) -> str:
    """Returns what the parameter of a kind is, in words."""
    return UNSEEN[kind].parameter if kind in UNSEEN else NOISES[kind].parameter


def corrupt(images: NDArray[np.uint8], noise: str, severity: int, seed: int, keys: Sequence[str | int]) -> NDArray[np.uint8]:
    """Corrupts every image alike: with a noise, or with what no training draws.

    An image's noise depends on `noise`, `severity`, `seed` and its key, and on nothing else: not on the other images, their
    order, the process or the model. Equal keys give equal noise.

    Args:
        images: uint8 of shape (n, h, w, c), in [0, 255].
        noise: A name from `KINDS`.
        severity: 1 to 5.
        seed: Chooses one of many test sets of the same difficulty.
        keys: What identifies each image's content, e.g. the hash of its file; n values.

    Returns:
        uint8 of the same shape, rounded to whole grey values.
    """
    corrupted = np.empty_like(images)
    for i, key in enumerate(keys):
        entropy = hashlib.sha256(f"{noise}\n{severity}\n{seed}\n{key}".encode()).digest()[:16]
        generator = np.random.default_rng(int.from_bytes(entropy, "little"))
        image = images[i].astype(np.float32) / np.float32(255)
        if noise in UNSEEN:
            noisy = corrupt_unseen(image, noise, severity, generator)
        else:
            noisy = add_noise(image, noise, intensity_of(noise, severity), generator)
        corrupted[i] = np.rint(noisy * np.float32(255))
    return corrupted
