"""What an evaluation holds, and how it is written and read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from tumorcls.atomic import write_whole
from tumorcls.bootstrap import Estimate
from tumorcls.errors import DataError
from tumorcls.metrics import Bin
from tumorcls.mistakes import Mistake

_Value = TypeVar("_Value")
PerClass = tuple[_Value, ...]
"""One value per class, in the order of `tumorcls.labels.CLASSES`."""


@dataclass(frozen=True)
class Scores:
    """How a model did on the test images in one condition.

    Attributes:
        accuracy: Share of right predictions.
        balanced_accuracy: Mean recall of the classes in the test set.
        macro_f1: Mean F1 of the classes.
        calibration_error: Expected calibration error in [0, 1].
        recall: Of each class.
        precision: Of each class; None where nothing was predicted as the class.
        f1: Of each class; None where the class does not occur.
        roc_auc: Of each class against the rest; None where the test set holds only the class, or none of it.
        confusion: Counts; rows are true classes, columns predicted ones.
        reliability: Bins of confidence that hold images, from low to high.
        predicted: Class index given to each image.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    calibration_error: Estimate
    recall: PerClass[Estimate]
    precision: PerClass[float | None]
    f1: PerClass[float | None]
    roc_auc: PerClass[float | None]
    confusion: PerClass[PerClass[int]]
    reliability: tuple[Bin, ...]
    predicted: tuple[int, ...]


@dataclass(frozen=True)
class Condition:
    """Scores under one noise at one severity (1 to 5)."""

    noise: str
    severity: int
    scores: Scores


@dataclass(frozen=True)
class Summary:
    """Macro-F1 in short.

    Attributes:
        noisy_f1: Mean over noises and severities.
        robust_f1: Mean of `noisy_f1` and the clean macro-F1.
        worst_f1: Mean over severities under `worst_noise`, the noise where it is lowest.
        worst_noise: Its name.
    """

    noisy_f1: Estimate
    robust_f1: Estimate
    worst_f1: Estimate
    worst_noise: str


@dataclass(frozen=True)
class RelativeError:
    """Balanced error under one noise relative to a reference model, as MedMNIST-C defines it; below 1 is better than it.

    Attributes:
        noise: Name, or "mean" for the mean over the noises.
        be: Sum over severities of the balanced error, divided by the reference's.
        rbe: The same for the increase of the balanced error over the clean one. Both are None where the reference's sum is too
            small to divide by (see `tumorcls.robustness`).
    """

    noise: str
    be: Estimate
    rbe: Estimate


@dataclass(frozen=True)
class Relative:
    """Robustness relative to a reference model, per noise, and their mean last."""

    reference: str
    errors: tuple[RelativeError, ...]


@dataclass(frozen=True)
class Evaluation:
    """All that was measured of one model on one test set.

    Attributes:
        name: Of the model.
        classes: Class names in the order of all per-class values.
        labels: True class index of each image.
        groups: Group of each image.
        test_set_sha256: Of keys, labels and groups: equal means measured on the same images.
        noise_seed: Seed of the corruptions.
        resamples: Number of bootstrap resamples behind every interval.
        clean: Scores on images as they are.
        noisy: Scores per noise and severity, in that order.
        summary: None where no noise was measured.
        mistakes: The most confident wrong predictions, clean ones first.
        relative: None without a reference model.
        provenance: Where model and data come from, in words: commit, versions, hashes.
    """

    name: str
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    groups: tuple[int, ...]
    test_set_sha256: str
    noise_seed: int
    resamples: int
    clean: Scores
    noisy: tuple[Condition, ...]
    summary: Summary | None
    mistakes: tuple[Mistake, ...]
    relative: Relative | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def noises(self) -> tuple[str, ...]:
        """Names of the noises, in the order in which they were measured."""
        return tuple(dict.fromkeys(condition.noise for condition in self.noisy))

    def under(self, noise: str) -> tuple[Condition, ...]:
        """Returns the conditions of one noise, by severity."""
        return tuple(condition for condition in self.noisy if condition.noise == noise)

    def to_json(self) -> str:
        """Returns the evaluation as JSON; see `from_json`."""
        return _ADAPTER.dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str, where: str = "evaluation") -> "Evaluation":
        """Reads what `to_json` wrote.

        Args:
            text: JSON.
            where: Named at the start of an error.

        Raises:
            DataError: It is no evaluation.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise DataError(
                f"{where}: must be JSON written by `tumorcls evaluate`; {place}: {first['msg']}. Evaluate the model again."
            ) from None

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Reads a file that `write` wrote.

        Raises:
            DataError: The file cannot be read or is no evaluation.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise DataError(f"{path}: must be a readable JSON file; {reason}. Write one with `tumorcls evaluate -o`.") from None
        return cls.from_json(text, where=str(path))

    def write(self, path: Path) -> None:
        """Writes it as JSON.

        Raises:
            DataError: The folder cannot be written or the disk is full.
        """
        write_whole(path, self.to_json())


_ADAPTER: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)
