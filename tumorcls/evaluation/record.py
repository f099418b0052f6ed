"""What an evaluation holds, and how it is written and read. What is read may come from a stranger, so it is bounded."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from tumorcls import DISCLAIMER
from tumorcls.data.sources import PHANTOMS
from tumorcls.errors import DataError, later_file, newer_version, one_line, reason
from tumorcls.evaluation.bootstrap import Estimate, Finite
from tumorcls.evaluation.detection import Detection
from tumorcls.evaluation.external import External
from tumorcls.evaluation.metrics import Bin
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.evaluation.relative import Name, Relative
from tumorcls.evaluation.selective import Selective
from tumorcls.evaluation.set_coverage import SetCoverage, SetScores
from tumorcls.files import read_whole, write_whole
from tumorcls.noise.kinds import NOISES
from tumorcls.noise.severity import KINDS, SEVERITY_LEVELS

_MAX_BYTES = 2**26
"""Of an evaluation as JSON: some of a million images."""

_MAX_SHOWN = 100  # mistakes, conditions, lines of provenance
LONGEST_TEXT = 2000
"""Letters of a line of provenance."""

BOTH_PARTS = "training and validation images"
"""What provenance says as ``trained_on`` of a network that has seen the validation images too: its calibration is another's."""

_Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
_Value = TypeVar("_Value")
PerClass = tuple[_Value, ...]
"""One value per class, in the order of `tumorcls.data.labels.CLASSES`."""


@dataclass(frozen=True)
class Scores:
    """How a model did on the test images in one condition.

    Attributes:
        accuracy: Share of right predictions.
        balanced_accuracy: Mean recall of the classes in the test set.
        macro_f1: Mean F1 of the classes in the test set; other data than the model's own may lack one.
        calibration_error: Expected calibration error in [0, 1].
        recall: Of each class.
        precision: Of each class; None where nothing was predicted as the class.
        f1: Of each class; None where no image has the class nor was given it.
        roc_auc: Of each class against the rest; None where the test set holds only the class, or none of it.
        confusion: Counts; rows are true classes, columns predicted ones.
        reliability: Bins of confidence that hold images, from low to high.
        predicted: Class index given to each image.
        brier: Brier score in [0, 2], the mean squared distance of the probabilities from the truth; None in older files.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    calibration_error: Estimate
    recall: PerClass[Estimate]
    precision: PerClass[Finite | None]
    f1: PerClass[Finite | None]
    roc_auc: PerClass[Finite | None]
    confusion: PerClass[PerClass[int]]
    reliability: tuple[Bin, ...]
    predicted: tuple[int, ...]
    brier: Estimate | None = None


@dataclass(frozen=True)
class Condition:
    """Scores under one noise, or one corruption that no training draws, at one severity (1 to 5)."""

    noise: str
    severity: int
    scores: Scores


@dataclass(frozen=True)
class Summary:
    """Macro-F1 in short: the mean over noises and severities, its mean with the clean one, and that under the worst noise."""

    noisy_f1: Estimate
    robust_f1: Estimate
    worst_f1: Estimate
    worst_noise: str


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
        noisy: Scores per noise and severity, in that order: noises that the training or the search of the model knows.
        summary: Of `noisy`; None where no noise was measured.
        mistakes: The most confident wrong predictions, clean ones first.
        relative: None without a reference model.
        provenance: Where model and data come from, in words: commit, versions, hashes.
        selective: What it is worth that the model may say nothing; None where that was not measured.
        unseen: Scores per corruption and severity, in that order, of what neither the training nor the search knows.
        unseen_summary: Of `unseen`; None where nothing of that was measured.
        external: Of other data than the model's own, what was left out of it; None for the model's own test part.
        sets: What the model's sets of classes are worth; None where it has none.
        gate_passes: Share of the clean images that the model's gate takes for slices; None where it has none.
        detection: Tumours that were missed and false alarms; None where there are not both kinds of images, and in older files.
    """

    name: Name
    classes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=20)]
    labels: tuple[int, ...]
    groups: tuple[int, ...]
    test_set_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    noise_seed: Annotated[int, Field(ge=0, lt=2**63)]
    resamples: Annotated[int, Field(ge=1, le=100_000)]
    clean: Scores
    noisy: tuple[Condition, ...]
    summary: Summary | None
    mistakes: tuple[Mistake, ...]
    relative: Relative | None = None
    provenance: Annotated[dict[Name, _Text], Field(max_length=_MAX_SHOWN)] = field(default_factory=dict)
    selective: Selective | None = None
    unseen: tuple[Condition, ...] = ()
    unseen_summary: Summary | None = None
    external: External | None = None
    sets: SetCoverage | None = None
    gate_passes: Estimate | None = None
    detection: Detection | None = None

    @property
    def noises(self) -> tuple[str, ...]:
        """Names of the noises, in the order in which they were measured."""
        return tuple(dict.fromkeys(condition.noise for condition in self.noisy))

    @property
    def unseen_kinds(self) -> tuple[str, ...]:
        """Names of the corruptions that were never seen, in the order in which they were measured."""
        return tuple(dict.fromkeys(condition.noise for condition in self.unseen))

    @property
    def set_rows(self) -> tuple[SetScores, ...]:
        """What sets of classes are worth, clean images first; nothing where the model has none."""
        return () if self.sets is None else self.sets.rows

    @property
    def groups_note(self) -> str:
        """How many images there are, in how many groups, and what is in one: on one side of a split, and resampled whole."""
        named, count = self.provenance.get("patients", "not named"), self.provenance.get("patients_measured")
        patients = f" (patients are {named}{f': {count}' if count else ''})"
        counts = f"{len(self.labels)} images in {len(set(self.groups))} groups"
        return f"{counts}, resampled whole: {self.together}{'' if self.provenance.get('sources') == PHANTOMS else patients}."

    @property
    def together(self) -> str:
        """What is in one group."""
        whose = {"named": "all slices of a patient", "named in part": "all slices of a patient who is named"}
        return f"copies, and {whose.get(self.provenance.get('patients', ''), 'slices of one volume')}"

    @property
    def patients_note(self) -> str:
        """What the figures may owe to patients that nobody names; empty where all are named or the images are generated."""
        named = self.provenance.get("patients", "not named")
        if named == "named" or self.provenance.get("sources") == PHANTOMS:
            return ""
        own = "slices of one patient may lie on both sides of the split"
        both = own if self.external is None else "the model may have trained on other slices of a patient"
        return f"Patients are {named}: {both}, and the figures here are then too good."

    def under(self, noise: str) -> tuple[Condition, ...]:
        """Returns the conditions of one noise, seen or not, by severity."""
        return tuple(condition for condition in (*self.noisy, *self.unseen) if condition.noise == noise)

    def to_json(self) -> str:
        """Returns the evaluation as JSON, the disclaimer first; see `from_json`, which needs none."""
        return _ADAPTER.dump_json(self, indent=1).decode().replace("{", f'{{\n "note": {json.dumps(DISCLAIMER)},', 1)

    @classmethod
    def from_json(cls, text: str, where: str = "evaluation") -> "Evaluation":
        """Reads what `to_json` wrote; an error begins with `where`.

        Raises:
            DataError: It is no evaluation.
        """
        try:
            evaluation = _ADAPTER.validate_json(text)
            problem = next(_contradictions(evaluation), "")
        except ValidationError as error:
            problem = reason(error)
        if problem and (version := _newer_version(text)):
            raise DataError(f"{where}: {later_file('an evaluation', version)}")
        if problem:
            rule = f"must be JSON written by `tumorcls evaluate`; {one_line(problem)}"
            raise DataError(f"{where}: {rule}. Evaluate the model again.")
        return evaluation

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Reads a file that `write` wrote.

        Raises:
            DataError: The file cannot be read or is no evaluation.
        """
        try:
            text = read_whole(path, _MAX_BYTES).decode()
        except (OSError, UnicodeDecodeError) as error:
            rule = f"must be a readable JSON file; {reason(error)}"
            raise DataError(f"{path}: {rule}. Write one with `tumorcls evaluate -o`.") from None
        return cls.from_json(text, where=str(path))

    def write(self, path: Path) -> None:
        """Writes it as JSON.

        Raises:
            DataError: The folder cannot be written or the disk is full.
        """
        write_whole(path, self.to_json())


def _newer_version(text: str) -> str:
    try:
        return newer_version(json.loads(text)["provenance"]["tumorcls"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _contradictions(evaluation: Evaluation) -> Iterator[str]:
    """Yields what does not fit together, so that tables and charts can trust an evaluation that a file holds."""
    classes, images = len(evaluation.classes), len(evaluation.labels)
    if not images or len(evaluation.groups) != images or not _indices(evaluation.labels, classes):
        yield "labels and groups: must name a class and a group of each image"
    external = evaluation.external
    if external is not None and external.images != images + external.left_out:
        yield "external: must count the images that were measured and those that were left out"
    if len(set(evaluation.classes)) != classes:
        yield "classes: must differ"
    yield from _wrong_conditions("noisy", evaluation.noisy, evaluation.summary, tuple(NOISES))
    yield from _wrong_conditions("unseen", evaluation.unseen, evaluation.unseen_summary, KINDS)
    if set(evaluation.noises) & set(evaluation.unseen_kinds):
        yield "noisy and unseen: must name different kinds"
    for scores in (evaluation.clean, *(condition.scores for condition in (*evaluation.noisy, *evaluation.unseen))):
        per_class = (scores.recall, scores.precision, scores.f1, scores.roc_auc, scores.confusion, *scores.confusion)
        if any(len(values) != classes for values in per_class) or len(scores.reliability) > _MAX_SHOWN:
            yield f"scores: must have a value for each of {classes} classes"
        if len(scores.predicted) != images or not _indices(scores.predicted, classes):
            yield "scores.predicted: must name a class for each image"
        if sum(map(sum, scores.confusion)) != images or min(map(min, scores.confusion)) < 0:
            yield "scores.confusion: must count the images"
    if len(evaluation.mistakes) > _MAX_SHOWN or not all(_shown(mistake, classes, images) for mistake in evaluation.mistakes):
        yield f"mistakes: must be at most {_MAX_SHOWN}, of its images, classes and noises"
    if evaluation.sets is not None and not all(row.noise in (None, *KINDS) for row in evaluation.sets.rows):
        yield "sets: must name noises"
    relative = (*evaluation.relative.errors, *evaluation.relative.unseen) if evaluation.relative is not None else ()
    if not all(error.noise in (*KINDS, "mean") for error in relative):
        yield "relative: must name noises"


def _wrong_conditions(
    where: str, measured: tuple[Condition, ...], summary: Summary | None, kinds: tuple[str, ...]
) -> Iterator[str]:
    conditions = [(condition.noise, condition.severity) for condition in measured]
    if not all(noise in kinds and severity in SEVERITY_LEVELS for noise, severity in conditions):
        yield f"{where}: must name noises ({', '.join(kinds)}) and severities from 1 to 5"
    if len(set(conditions)) != len(conditions) or bool(conditions) != (summary is not None):
        yield f"{where}: must name each condition once, and a summary where there is one"
    if summary is not None and summary.worst_noise not in kinds:
        yield f"{where}: the worst noise of its summary must be a noise"


def _shown(mistake: Mistake, classes: int, images: int) -> bool:
    clean = mistake.noise is None and mistake.severity == 0
    noisy = mistake.noise in NOISES and mistake.severity in SEVERITY_LEVELS
    return _indices((mistake.label, mistake.predicted), classes) and _indices((mistake.image,), images) and (clean or noisy)


def _indices(values: tuple[int, ...], count: int) -> bool:
    return all(0 <= value < count for value in values)


_ADAPTER: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)
