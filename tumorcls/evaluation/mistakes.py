"""The worst wrong answers: those that the model was most confident of, one of each group of copies, or of a patient."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tumorcls.evaluation.metrics import Floats, Labels, RoundedShare

SHOWN = 12
"""So many are worth a look on one sheet."""

LONGEST_FILE = 1000
"""Letters of a file's name."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer to an image.

    Attributes:
        image: Its place in the set that was measured.
        key: Its content hash.
        label: The true class, an index.
        predicted: The likeliest class, an index.
        confidence: The probability of that class.
        noise: None for a clean image.
        severity: Of the noise; 0 for a clean image.
        file: The name of its file in its set; empty where that is not known.
    """

    image: int
    key: Annotated[str, Field(max_length=200)]
    label: int
    predicted: int
    confidence: RoundedShare
    noise: str | None = None
    severity: int = 0
    file: Annotated[str, Field(max_length=LONGEST_FILE)] = ""


def find_mistakes(
    probabilities: Floats,
    labels: Labels,
    keys: Sequence[str],
    *,
    among: NDArray[np.bool_] | None = None,
    noise: str | None = None,
    severity: int = 0,
) -> list[Mistake]:
    """Returns the wrong answers among probabilities (n, k), in the order of the images.

    Labels (n,) are the indices of the true classes, keys hashes of the images' content; `among` (n,) says which images count,
    None that all do; noise and severity say what was done to them.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = predicted != labels
    return [
        Mistake(i, str(keys[i]), int(labels[i]), int(predicted[i]), float(probabilities[i].max()), noise, severity)
        for i in np.flatnonzero(wrong if among is None else wrong & among).tolist()
    ]


def most_confident(mistakes: Iterable[Mistake], groups: NDArray[np.int64], count: int = SHOWN) -> list[Mistake]:
    """Returns the `count` mistakes of highest confidence, one of each group, or a single hard picture would fill the sheet."""
    by_group: dict[int, Mistake] = {}
    for mistake in sorted(mistakes, key=lambda mistake: -mistake.confidence):
        by_group.setdefault(int(groups[mistake.image]), mistake)
    return list(by_group.values())[:count]
