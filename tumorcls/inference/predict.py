"""A model's answers for image files and slices of volumes: one for each, or why there is none."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from tumorcls import DISCLAIMER
from tumorcls.data.cells import to_cell
from tumorcls.data.images import fit_square
from tumorcls.data.labels import probability
from tumorcls.data.series import Series
from tumorcls.data.slices import Which, slice_name
from tumorcls.errors import ModelError, shown
from tumorcls.evaluation.record import BOTH_PARTS
from tumorcls.inference.pictures import Picture, find_volumes, pictures
from tumorcls.reports import limits

if TYPE_CHECKING:
    from tumorcls.inference.activation_map import Explained, Explainer
    from tumorcls.model.conformal import ClassSets
    from tumorcls.model.gate import Gate
    from tumorcls.model.saved_model import SavedModel

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
        path: The file; of an array's image what it is called, as `images[0]`.
        answer: A class name, `UNCERTAIN` or `NO_SLICE`; None where the file could not be read.
        probabilities: Of each class, by name; empty where the file could not be read.
        error: Why it could not be read, in one line.
        image: uint8 (size, size, 3), what the network saw; None where the file could not be read.
        activation: The class activation map of the likeliest class, (h, w) in [0, 1].
        class_set: All classes that cannot be ruled out, the likeliest first; None without sets, or where the image is no slice.
        slice_number, slices, series: As of a `tumorcls.inference.pictures.Picture`.
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
    series: str | None = None

    @property
    def title(self) -> str:
        """The file as it is named to people, with the slice where it holds several."""
        return slice_name(shown(self.path), None if self.series is not None else self.slice_number)

    @property
    def volume(self) -> str | None:
        """What the volume is called that it is a slice of: a file, or a series; None where there is none."""
        return self.series or (shown(self.path) if self.slices > 1 else None)


@dataclass(frozen=True)
class Judgement:
    """What is made of a model's probabilities: below a confidence of `threshold` the answer is `UNCERTAIN`.

    Sets and gate are the model's; None where it has none, and the gate too where everything shall pass.
    """

    threshold: float
    sets: "ClassSets | None" = None
    gate: "Gate | None" = None

    def judge(
        self, explained: "Explained", classes: Sequence[str]
    ) -> Iterator[tuple[str, dict[str, float], tuple[str, ...] | None]]:
        """Yields for each image its answer, the probability of each class by name, and its set of classes."""
        passes = [True] * len(explained.probabilities) if self.gate is None else self.gate.passes(explained.gate_features)
        for shares, passed in zip(explained.probabilities, passes, strict=True):
            by_name = dict(zip(classes, shares.tolist(), strict=True))
            answer = classes[int(shares.argmax())] if shares.max() >= self.threshold else UNCERTAIN
            yield (answer, by_name, self._class_set(shares, classes)) if passed else (NO_SLICE, by_name, None)

    def _class_set(self, shares: NDArray[np.floating], classes: Sequence[str]) -> tuple[str, ...] | None:
        if self.sets is None:
            return None
        inside = self.sets.contain(shares)
        return tuple(classes[i] for i in np.argsort(-shares, kind="stable") if inside[i])


def answer_files(
    model: "SavedModel",
    *paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    slices: Which = "middle",
    threshold: float | None = None,
    gate: bool = True,
) -> Iterator[Prediction]:
    """Answers for files and folders as `tumorcls predict` does.

    Args:
        model: From `tumorcls.load_model`.
        *paths: One by one, or in a list.
        slices: Of a volume: the one in its middle, or all that show something.
        threshold: Confidence below which the answer is `UNCERTAIN`; None takes the model's own.
        gate: Whether an answer may be `NO_SLICE`, where the model has a gate.

    Raises:
        DataError: A folder holds no image file. A file that cannot be read is answered for with an `error`.
        ValueError: `slices` is no such word, or `threshold` lies outside [0, 1].
    """
    if slices not in get_args(Which):
        raise ValueError(f"slices: must be one of {', '.join(get_args(Which))}; got {slices!r}")
    explainer, judgement = _asked(model, threshold, gate)
    each = chain.from_iterable([path] if isinstance(path, str | os.PathLike) else path for path in paths)
    asked = list(find_volumes(map(Path, each)))
    return predict_files(explainer, asked, model.classes, model.config.image_size, judgement, slices)


def answer_images(
    model: "SavedModel", images: Iterable[NDArray[np.uint8]], *, threshold: float | None = None, gate: bool = True
) -> list[Prediction]:
    """Answers for images in memory as `answer_files` does for files.

    Args:
        model: From `tumorcls.load_model`.
        images: RGB, uint8 in [0, 255]: an array (n, height, width, 3), or a list of such (height, width, 3) of any sizes.
        threshold: As of `answer_files`.
        gate: As of `answer_files`.

    Raises:
        ModelError: An image is another.
        ValueError: `threshold` lies outside [0, 1].
    """
    explainer, judgement = _asked(model, threshold, gate)
    side = model.config.image_size
    asked = [
        Picture(Path(f"images[{number}]"), fit_square(_checked(image, number), side)) for number, image in enumerate(images)
    ]
    return list(_predict(explainer, asked, model.classes, side, judgement))


def _checked(image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ModelError(
            f"images[{number}]: must be uint8 in [0, 255] of shape (height, width, 3); "
            f"got {image.dtype} of shape {image.shape}. Do not divide by 255."
        )
    return image


def _asked(model: "SavedModel", threshold: float | None, gate: bool) -> tuple["Explainer", Judgement]:
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold: must be in [0, 1]; got {threshold!r}")
    from tumorcls.inference.activation_map import explainer_of  # imports Keras

    calibration = model.calibration
    chosen = calibration.threshold if threshold is None else threshold
    judgement = Judgement(chosen, calibration.sets, model.gate if gate else None)
    return explainer_of(model.network, model.config.mirror_average), judgement


def predict_files(
    explainer: "Explainer",
    asked: Iterable[Path | Series],
    classes: Sequence[str],
    image_size: int,
    judgement: Judgement,
    slices: Which = "middle",
) -> Iterator[Prediction]:
    """Answers for files and series in their order, in batches of bounded memory; one that cannot be read stops nothing.

    Classes are in the order of the model's probabilities, and its input has `image_size` pixels a side. Of a volume the slice
    in its middle is answered, or all that show something.
    """
    return _predict(
        explainer, (picture for one in asked for picture in pictures(one, image_size, slices)), classes, image_size, judgement
    )


def _predict(
    explainer: "Explainer", asked: Iterable[Picture], classes: Sequence[str], image_size: int, judgement: Judgement
) -> Iterator[Prediction]:
    remaining = iter(asked)
    batch_size = max(1, min(_BATCH, _BATCH_PIXELS // image_size**2))
    while batch := list(islice(remaining, batch_size)):
        images = [picture.image for picture in batch if isinstance(picture.image, np.ndarray)]
        if images:
            explained = explainer.explain(np.stack(images))
            answers = zip(judgement.judge(explained, classes), explained.maps, strict=True)
        for one in batch:
            which = (one.slice_number, one.slices, one.series)
            if isinstance(one.image, str):
                yield Prediction(one.path, None, {}, one.image, None, None, None, *which)
            else:
                (answer, by_name, named), activation = next(answers)
                yield Prediction(one.path, answer, by_name, None, one.image, activation, named, *which)


def promise_of(model: "SavedModel") -> str:
    """Returns what the model's sets of classes promise; an empty text where it has none."""
    sets, trained_on = model.calibration.sets, model.provenance.get("trained_on")
    return "" if sets is None else limits.sets_of_classes(sets.coverage, taken_over=trained_on == BOTH_PARTS)


def limits_of(predictions: Sequence[Prediction], classes: Sequence[str], promise: str = "") -> list[str]:
    """Returns what a person must know of these answers, a text each; the promise is that of sets of classes, `promise_of`."""
    sentences = [limits.other_diseases(classes)]
    if promise and any(one.class_set is not None for one in predictions):
        sentences.append(promise)
    volumes = Counter((one.volume, one.slices) for one in predictions if one.volume is not None and one.error is None)
    if 1 in volumes.values():
        sentences.append(limits.one_slice())
    if any(count > 1 for count in volumes.values()):
        sentences.append(limits.COUNTED_SLICES)
    return sentences


def as_text(predictions: Sequence[Prediction], classes: Sequence[str], promise: str = "") -> str:
    """Returns a line for each answer, the likeliest class first, after several of one volume a line that counts them.

    At the end stands what a person must know, see `limits_of`.
    """
    lines: list[str] = []
    for volume, members in groupby(predictions, key=lambda one: one.volume):
        found = list(members)
        lines += [_line(one) for one in found if one.error is None]
        if volume is not None and len(found) > 1:
            counts = ", ".join(f"{answer} {count}" for answer, count in _count(found).items())
            lines.append(f"{volume}: {len(found)} of {found[0].slices} slices: {counts}")
    return "\n".join([*lines, DISCLAIMER, *limits_of(predictions, classes, promise), ""])


def _line(one: Prediction) -> str:
    ranked = sorted(one.probabilities.items(), key=lambda pair: -pair[1])
    shares = "  ".join(f"{name} {probability(share)}" for name, share in ranked)
    not_ruled_out = "" if one.class_set is None else f"  not ruled out: {', '.join(one.class_set)}"
    which = f", slice {one.slice_number}" if one.series is not None else ""
    of = f" of {one.slices}" if one.slices > 1 else ""
    said = NO_SLICE if one.answer == NO_SLICE else f"{one.answer}  ({shares})"
    return f"{one.title}{which}{of}: {said}{not_ruled_out}"


def _count(predictions: Iterable[Prediction]) -> dict[str, int]:
    """Returns how many slices got each answer, the most frequent first."""
    return dict(Counter(one.answer or "cannot be read" for one in predictions).most_common())


def as_csv(predictions: Sequence[Prediction], classes: Sequence[str], promise: str = "") -> str:
    """Returns a table with the columns file, answer, one for each class, set, error and note: the disclaimer, and `limits_of`.

    A slice of a volume is named ``volume.nii.gz#78``, one of a series as its file. A file name that a spreadsheet would take
    for a formula begins with a single quote.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    note = " ".join([DISCLAIMER, *limits_of(predictions, classes, promise)])
    writer.writerow(["file", "answer", *classes, "set", "error", "note"])
    for one in predictions:
        shares = [f"{one.probabilities[name]:.6f}" if one.probabilities else "" for name in classes]
        error, named = to_cell(one.error or ""), " ".join(one.class_set or ())
        writer.writerow([to_cell(one.title), one.answer or "", *shares, named, error, note])
    return text.getvalue()


def as_json(predictions: Sequence[Prediction], classes: Sequence[str], promise: str = "") -> str:
    """Returns an object: disclaimer, `limits_of`, classes, the list of answers, and of each volume how often it got each."""
    answers = [
        {
            "file": shown(one.path),
            "volume": one.volume,
            "slice": one.slice_number,
            "slices": one.slices,
            "answer": one.answer,
            "probabilities": one.probabilities,
            "set": None if one.class_set is None else list(one.class_set),
            "error": one.error,
        }
        for one in predictions
    ]
    volumes = [
        {"volume": volume, "answers": _count(members)}
        for volume, members in groupby(predictions, key=lambda one: one.volume)
        if volume is not None
    ]
    told = {"note": DISCLAIMER, "limits": limits_of(predictions, classes, promise)}
    document = {**told, "classes": list(classes), "predictions": answers, "volumes": volumes}
    return json.dumps(document, indent=1) + "\n"
