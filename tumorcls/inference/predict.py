"""A model's answers for image files: one for each, or why there is none."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tumorcls import DISCLAIMER
from tumorcls.data.image_files import IMAGE_SUFFIXES, shown, walk
from tumorcls.data.images import fit_square, read_image
from tumorcls.errors import DataError

if TYPE_CHECKING:
    from tumorcls.inference.activation_map import Explainer

UNCERTAIN = "uncertain"
"""The answer where the model is less sure than its threshold."""

_BATCH = 32
_BATCH_PIXELS = 100_000  # four images of 150x150: 32 of them would take 230 MB more


@dataclass(frozen=True)
class Prediction:
    """The answer for one file.

    Attributes:
        path: The file.
        answer: A class name, or `UNCERTAIN`; None where the file could not be read.
        probabilities: Of each class, by name; empty where the file could not be read.
        error: Why it could not be read, in one line.
        image: uint8 (size, size, 3), what the network saw; None where the file could not be read.
        activation: The class activation map of the likeliest class, (h, w) in [0, 1].
    """

    path: Path
    answer: str | None
    probabilities: dict[str, float]
    error: str | None = None
    image: NDArray[np.uint8] | None = None
    activation: NDArray[np.float32] | None = None


def find_images(paths: Iterable[Path]) -> Iterator[Path]:
    """Yields files as they are and, sorted, the image files in and below folders (`tumorcls.data.image_files`).

    Raises:
        DataError: A folder holds no image file, or cannot be read.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        images = sorted(image for listing in walk(path) for image in listing.images)
        if not images:
            raise DataError(f"{shown(path)}: a folder must hold image files ({', '.join(sorted(IMAGE_SUFFIXES))}); got none.")
        yield from images


def name_answer(probabilities: NDArray[np.float32], classes: Sequence[str], threshold: float) -> tuple[str, dict[str, float]]:
    """Returns the likeliest class, or `UNCERTAIN` below the threshold, and the probability of each class by name."""
    answer = classes[int(probabilities.argmax())] if probabilities.max() >= threshold else UNCERTAIN
    return answer, dict(zip(classes, probabilities.tolist(), strict=True))


def predict_files(
    explainer: "Explainer", paths: Iterable[Path], classes: Sequence[str], image_size: int, threshold: float
) -> Iterator[Prediction]:
    """Answers for files in their order, in batches of bounded memory; a file that cannot be read stops nothing.

    Args:
        explainer: Of the model.
        paths: Image files.
        classes: Class names in the order of the model's probabilities.
        image_size: Side of the model's input in pixels.
        threshold: Confidence below which the answer is `UNCERTAIN`.
    """
    remaining = iter(paths)
    batch_size = max(1, min(_BATCH, _BATCH_PIXELS // image_size**2))
    while batch := list(islice(remaining, batch_size)):
        read = [_read(path, image_size) for path in batch]
        images = [image for image in read if isinstance(image, np.ndarray)]
        explained = explainer.explain(np.stack(images)) if images else None
        row = 0
        for path, image in zip(batch, read, strict=True):
            if isinstance(image, str):
                yield Prediction(path, None, {}, image)
                continue
            assert explained is not None
            answer, by_name = name_answer(explained.probabilities[row], classes, threshold)
            yield Prediction(path, answer, by_name, image=image, activation=explained.maps[row])
            row += 1


def as_text(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Returns a line for each answer, the likeliest class first."""
    lines = []
    for prediction in predictions:
        ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        shares = "  ".join(f"{name} {share:.3f}" for name, share in ranked)
        if prediction.error is None:
            lines.append(f"{shown(prediction.path)}: {prediction.answer}  ({shares})")
    return "\n".join([*lines, DISCLAIMER, ""])


def as_csv(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Returns a table with the columns file, answer, one for each class, error and note, the disclaimer.

    A file name that a spreadsheet would take for a formula begins with a single quote.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "answer", *classes, "error", "note"])
    for one in predictions:
        shares = [f"{one.probabilities[name]:.6f}" if one.probabilities else "" for name in classes]
        writer.writerow([_no_formula(shown(one.path)), one.answer or "", *shares, _no_formula(one.error or ""), DISCLAIMER])
    return text.getvalue()


def _no_formula(cell: str) -> str:
    """Returns a cell that no spreadsheet runs: `'` before what would begin a formula (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def as_json(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Returns an object with the classes, the disclaimer and the list of answers."""
    answers = [
        {"file": shown(one.path), "answer": one.answer, "probabilities": one.probabilities, "error": one.error}
        for one in predictions
    ]
    return json.dumps({"note": DISCLAIMER, "classes": list(classes), "predictions": answers}, indent=1) + "\n"


def _read(path: Path, image_size: int) -> NDArray[np.uint8] | str:
    try:
        return fit_square(read_image(path), image_size)
    except DataError as error:
        return str(error)
