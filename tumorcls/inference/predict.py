"""A model's answers for image files and slices of volumes: one for each, or why there is none."""

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
from tumorcls.data.images import fit_square, read_slice
from tumorcls.data.slices import Which, slice_name
from tumorcls.errors import DataError

if TYPE_CHECKING:
    from tumorcls.inference.activation_map import Explained, Explainer
    from tumorcls.model.conformal import ClassSets
    from tumorcls.model.gate import Gate

UNCERTAIN = "uncertain"
"""The answer where the model is less sure than its threshold."""

NO_SLICE = "no brain MRI slice"
"""The answer where the model's gate says that the image is none."""

_BATCH = 32
_BATCH_PIXELS = 100_000  # four images of 150x150: 32 of them would take 230 MB more


@dataclass(frozen=True)
class Prediction:
    """The answer for one file, or for one slice of it.

    Attributes:
        path: The file.
        answer: A class name, `UNCERTAIN` or `NO_SLICE`; None where the file could not be read.
        probabilities: Of each class, by name; empty where the file could not be read.
        error: Why it could not be read, in one line.
        image: uint8 (size, size, 3), what the network saw; None where the file could not be read.
        activation: The class activation map of the likeliest class, (h, w) in [0, 1].
        class_set: All classes that cannot be ruled out, the likeliest first; None without sets, or where the image is no slice.
        slice_number: Which slice of the file was seen, from 1; None where it holds one picture.
        slices: How many it holds.
    """

    path: Path
    answer: str | None
    probabilities: dict[str, float]
    error: str | None = None
    image: NDArray[np.uint8] | None = None
    activation: NDArray[np.float32] | None = None
    class_set: tuple[str, ...] | None = None
    slice_number: int | None = None
    slices: int = 1

    @property
    def title(self) -> str:
        """The file as it is named to people, with the slice where it is one of several."""
        return slice_name(shown(self.path), self.slice_number)


@dataclass(frozen=True)
class _Picture:
    """What is asked about: `image` is what the network sees, or why there is nothing to see."""

    path: Path
    image: NDArray[np.uint8] | str
    slice_number: int | None = None
    slices: int = 1


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


@dataclass(frozen=True)
class Judgement:
    """What is made of a model's probabilities.

    Attributes:
        threshold: Confidence below which the answer is `UNCERTAIN`.
        sets: Of the model; None where it has none.
        gate: Of the model; None where it has none, or everything shall pass.
    """

    threshold: float
    sets: "ClassSets | None" = None
    gate: "Gate | None" = None

    def judge(
        self, explained: "Explained", classes: Sequence[str]
    ) -> Iterator[tuple[str, dict[str, float], tuple[str, ...] | None]]:
        """Yields for each image its answer, the probability of each class by name, and its set of classes."""
        passes = [True] * len(explained.probabilities) if self.gate is None else self.gate.passes(explained.looked_at)
        for shares, passed in zip(explained.probabilities, passes, strict=True):
            answer, by_name = name_answer(shares, classes, self.threshold)
            yield (answer, by_name, self._class_set(by_name)) if passed else (NO_SLICE, by_name, None)

    def _class_set(self, by_name: dict[str, float]) -> tuple[str, ...] | None:
        if self.sets is None:
            return None
        ranked = sorted(by_name, key=lambda name: -by_name[name])
        return tuple(name for name in ranked if by_name[name] >= self.sets.cutoff)


def predict_files(
    explainer: "Explainer",
    paths: Iterable[Path],
    classes: Sequence[str],
    image_size: int,
    judgement: Judgement,
    slices: Which = "middle",
) -> Iterator[Prediction]:
    """Answers for files in their order, in batches of bounded memory; a file that cannot be read stops nothing.

    Args:
        explainer: Of the model.
        paths: Image files.
        classes: Class names in the order of the model's probabilities.
        image_size: Side of the model's input in pixels.
        judgement: What is made of the probabilities.
        slices: Of a volume: the one in its middle, or all that show something.
    """
    remaining = (picture for path in paths for picture in _pictures(path, image_size, slices))
    batch_size = max(1, min(_BATCH, _BATCH_PIXELS // image_size**2))
    while batch := list(islice(remaining, batch_size)):
        images = [picture.image for picture in batch if isinstance(picture.image, np.ndarray)]
        explained = explainer.explain(np.stack(images)) if images else None
        judged = judgement.judge(explained, classes) if explained is not None else iter(())
        row = 0
        for one in batch:
            which = (one.slice_number, one.slices)
            if isinstance(one.image, str):
                yield Prediction(one.path, None, {}, one.image, None, None, None, *which)
                continue
            assert explained is not None
            answer, by_name, named = next(judged)
            yield Prediction(one.path, answer, by_name, None, one.image, explained.maps[row], named, *which)
            row += 1


def as_text(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Returns a line for each answer, the likeliest class first."""
    lines = []
    for prediction in predictions:
        ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        shares = "  ".join(f"{name} {share:.3f}" for name, share in ranked)
        if prediction.error is None:
            named = prediction.class_set
            not_ruled_out = "" if named is None else f"  not ruled out: {', '.join(named) or 'none'}"
            of = f" of {prediction.slices}" if prediction.slices > 1 else ""
            lines.append(f"{prediction.title}{of}: {prediction.answer}  ({shares}){not_ruled_out}")
    return "\n".join([*lines, DISCLAIMER, ""])


def as_csv(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Returns a table with the columns file, answer, one for each class, set, error and note, the disclaimer.

    A slice of a volume is named ``volume.nii.gz#78``. A file name that a spreadsheet would take for a formula begins with a
    single quote.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "answer", *classes, "set", "error", "note"])
    for one in predictions:
        shares = [f"{one.probabilities[name]:.6f}" if one.probabilities else "" for name in classes]
        error, named = _no_formula(one.error or ""), " ".join(one.class_set or ())
        writer.writerow([_no_formula(one.title), one.answer or "", *shares, named, error, DISCLAIMER])
    return text.getvalue()


def _no_formula(cell: str) -> str:
    """Returns a cell that no spreadsheet runs: `'` before what would begin a formula (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def as_json(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Returns an object with the classes, the disclaimer and the list of answers."""
    answers = [
        {
            "file": shown(one.path),
            "slice": one.slice_number,
            "slices": one.slices,
            "answer": one.answer,
            "probabilities": one.probabilities,
            "set": None if one.class_set is None else list(one.class_set),
            "error": one.error,
        }
        for one in predictions
    ]
    return json.dumps({"note": DISCLAIMER, "classes": list(classes), "predictions": answers}, indent=1) + "\n"


def _pictures(path: Path, image_size: int, slices: Which) -> Iterator[_Picture]:
    """Yields what a file shows; of a volume the slice in its middle, or all but those that show nothing."""
    first, blank = _picture(path, image_size, None)
    if slices == "middle" or first.slices == 1 or blank:
        yield first
        return
    for number in range(1, first.slices + 1):
        one, blank = _picture(path, image_size, number)
        if not blank:
            yield one


def _picture(path: Path, image_size: int, number: int | None) -> tuple[_Picture, bool]:
    """Returns a picture, and whether there is nothing to be seen on it."""
    try:
        read = read_slice(path, number)
    except DataError as error:
        return _Picture(path, str(error), number), False
    blank = int(read.pixels.min()) == int(read.pixels.max())
    return _Picture(path, fit_square(read.pixels, image_size), read.slice_number, read.count), blank
