"""How a model does on test images, clean and under noise: predictions in, an `Evaluation` with intervals out."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tumorcls import __version__
from tumorcls.data.dataset import ImageSet
from tumorcls.errors import shown
from tumorcls.evaluation import detection, metrics, selective, set_coverage
from tumorcls.evaluation.bootstrap import Resamples, draw_resamples, estimate, estimate_calibration_error
from tumorcls.evaluation.metrics import Floats, Labels
from tumorcls.evaluation.mistakes import LONGEST_FILE, Mistake, find_mistakes, most_confident
from tumorcls.evaluation.record import LONGEST_TEXT, Condition, Evaluation, Scores, Summary
from tumorcls.evaluation.relative import LONGEST_NAME
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt

if TYPE_CHECKING:
    from tumorcls.model.conformal import ClassSets

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""uint8 images (n, h, w, 3) in [0, 255] -> probabilities (n, k), rows that add up to 1."""

_CHUNK = 512  # images corrupted at a time: 100 MB at 150 x 150 where all at once might be many GB


@dataclass(frozen=True)
class Plan:
    """What a model is measured under, and how.

    Attributes:
        noises: Names from `tumorcls.noise.kinds.NOISES`: what the model or its search knows; none measures clean images only.
        severities: From 1 to 5, of each noise.
        sets: Of classes; None where the model has none.
        passed: Of each image, whether the model's gate lets it pass; None where it has none.
        unseen: What neither knows, see `tumorcls.noise.unseen.unseen_kinds`; measured and summed up apart.
        unseen_severities: From 1 to 5, of each of these.
        seed: Of the corruptions and of the bootstrap.
        resamples: Number of bootstrap resamples behind every interval.
        threshold: Confidence below which the model says nothing; None leaves out what comes of that.
    """

    noises: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITY_LEVELS
    seed: int = 0
    resamples: int = 1000
    threshold: float | None = None
    sets: "ClassSets | None" = None
    passed: tuple[bool, ...] | None = None
    unseen: tuple[str, ...] = ()
    unseen_severities: tuple[int, ...] = SEVERITY_LEVELS

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Noise and severity of each condition, each once, the mildest of a noise first."""
        return list(product(dict.fromkeys(self.noises), sorted(set(self.severities))))

    @property
    def unseen_conditions(self) -> list[tuple[str, int]]:
        """The same of what was never seen."""
        return list(product(dict.fromkeys(self.unseen), sorted(set(self.unseen_severities))))


@dataclass(frozen=True)
class Predictions:
    """Probabilities (n, k) of the same n images as they are, and by noise and severity, those never seen apart."""

    clean: Floats
    noisy: Mapping[tuple[str, int], Floats]
    unseen: Mapping[tuple[str, int], Floats] = field(default_factory=dict)


def evaluate_model(
    predict: Predict,
    test: ImageSet,
    plan: Plan,
    *,
    name: str = "model",
    provenance: Mapping[str, str] | None = None,
    on_condition: Callable[[str, int], None] | None = None,
) -> Evaluation:
    """Measures a model on clean images, under every noise at every severity, and under what it has never seen.

    The model's probabilities are in the order of the set's classes. Of the test images, at least one, those of one group are
    resampled together; an image's key decides its noise. The provenance is kept with the result, with the number of patients
    where they are named. `on_condition` is called with noise and severity before each is measured, for a progress display.
    """

    def under(conditions: list[tuple[str, int]]) -> dict[tuple[str, int], Floats]:
        found = {}
        for condition in conditions:
            if on_condition is not None:
                on_condition(*condition)
            found[condition] = _predict_all(predict, test, *condition, seed=plan.seed)
        return found

    predictions = Predictions(_predict_all(predict, test), under(plan.conditions), under(plan.unseen_conditions))
    return measure(predictions, test, plan, name=name, provenance=provenance)


def measure(
    predictions: Predictions,
    test: ImageSet,
    plan: Plan,
    *,
    name: str = "model",
    provenance: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measures predictions that were already made; their conditions count, not the plan's. See `evaluate_model`."""
    resamples = draw_resamples(test.groups, plan.resamples, plan.seed)
    clean, clean_f1 = _score(test.labels, predictions.clean, resamples)
    noisy, summary = _score_all(predictions.noisy, test.labels, clean_f1, resamples)
    unseen, unseen_summary = _score_all(predictions.unseen, test.labels, clean_f1, resamples)
    answering = gate_passes = sets = None
    if plan.threshold is not None:
        answering = selective.measure(test.labels, predictions.clean, plan.threshold, resamples)
    if plan.passed is not None:
        gate_passes = estimate(resamples.means(np.array(plan.passed)), groups=resamples.groups)
    if plan.sets is not None:
        corrupted = {**predictions.noisy, **predictions.unseen}
        sets = set_coverage.measure(test.labels, predictions.clean, corrupted, plan.sets, resamples)
    patients = len(set(test.patients) - {None})
    counted = {"patients_measured": str(patients)} if patients else {}
    origin = {"tumorcls": __version__, **(provenance or {}), **counted}
    return Evaluation(
        name=_kept(name, LONGEST_NAME),
        classes=test.classes,
        labels=tuple(test.labels.tolist()),
        groups=tuple(test.groups.tolist()),
        test_set_sha256=images_sha256(test),
        noise_seed=plan.seed,
        resamples=plan.resamples,
        clean=clean,
        noisy=noisy,
        summary=summary,
        mistakes=tuple(_find_mistakes(predictions, test)),
        provenance={key: _kept(value, LONGEST_TEXT) for key, value in origin.items()},
        selective=answering,
        unseen=unseen,
        unseen_summary=unseen_summary,
        sets=sets,
        gate_passes=gate_passes,
        detection=detection.measure(test.labels, predictions.clean.argmax(axis=1), test.classes, resamples),
    )


def _predict_all(predict: Predict, test: ImageSet, noise: str | None = None, severity: int = 0, seed: int = 0) -> Floats:
    """Returns the probabilities of the images, corrupted where a noise is named."""
    parts = []
    for start in range(0, len(test.labels), _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk = test.images[rows] if noise is None else corrupt(test.images[rows], noise, severity, seed, test.keys[rows])
        parts.append(np.asarray(predict(chunk), dtype=np.float64))
    return np.concatenate(parts)


def _score_all(
    predictions: Mapping[tuple[str, int], Floats], labels: Labels, clean_f1: Floats, resamples: Resamples
) -> tuple[tuple[Condition, ...], Summary | None]:
    """Returns the scores of each condition, and what they come to; None where there is none."""
    conditions: list[Condition] = []
    curves: dict[str, list[Floats]] = {}
    for (noise, severity), probabilities in predictions.items():
        scores, macro_f1 = _score(labels, probabilities, resamples)
        conditions.append(Condition(noise, severity, scores))
        curves.setdefault(noise, []).append(macro_f1)
    if not conditions:
        return (), None
    f1, groups = metrics.noisy_f1(clean_f1, curves), _balanced_groups(labels, resamples)
    noisy, robust, worst = (estimate(values, groups=groups) for values in (f1.noisy, f1.robust, f1.worst))
    return tuple(conditions), Summary(noisy, robust, worst, f1.worst_noise)


def _score(labels: Labels, probabilities: Floats, resamples: Resamples) -> tuple[Scores, Floats]:
    """Returns the scores, and the macro-F1 of the test set and of each resample, shape (1 + resamples,)."""
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    confusion = resamples.confusions(labels, predicted, classes)
    calibration = resamples.sums(metrics.calibration_sums(labels, probabilities))
    macro_f1 = metrics.macro_f1(confusion)
    balanced, recalls = _balanced_groups(labels, resamples), enumerate(metrics.recall(confusion).T)
    scores = Scores(
        accuracy=estimate(metrics.accuracy(confusion), groups=resamples.groups),
        balanced_accuracy=estimate(metrics.balanced_accuracy(confusion), groups=balanced),
        macro_f1=estimate(macro_f1, groups=balanced),
        calibration_error=estimate_calibration_error(calibration, resamples.groups),
        recall=tuple(estimate(values, groups=_groups_of(index, labels, resamples)) for index, values in recalls),
        precision=_optional(metrics.precision(confusion[0])),
        f1=_optional(metrics.f1(confusion[0])),
        roc_auc=tuple(metrics.roc_auc(labels, probabilities)),
        confusion=tuple(tuple(row) for row in confusion[0].astype(int).tolist()),
        reliability=tuple(metrics.calibration_bins(calibration[0])),
        predicted=tuple(predicted.tolist()),
        brier=estimate(resamples.means(metrics.brier(labels, probabilities)), groups=resamples.groups, most=2.0),
    )
    return scores, macro_f1


def _groups_of(label: int, labels: Labels, resamples: Resamples) -> int:
    return len(np.unique(resamples.group[labels == label]))


def _balanced_groups(labels: Labels, resamples: Resamples) -> int:
    """Returns how many groups a mean over classes rests on: as if each class had no more than the smallest one."""
    present = np.unique(labels).tolist()
    return len(present) * min(_groups_of(label, labels, resamples) for label in present)


def _optional(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in values.tolist())


def _find_mistakes(predictions: Predictions, test: ImageSet) -> list[Mistake]:
    """Returns the most confident mistakes on clean images, then those under noise on images that were right when clean."""
    right = predictions.clean.argmax(axis=1) == test.labels
    under_noise = [
        mistake
        for (noise, severity), probabilities in predictions.noisy.items()
        for mistake in find_mistakes(probabilities, test.labels, test.keys, among=right, noise=noise, severity=severity)
    ]
    clean = find_mistakes(predictions.clean, test.labels, test.keys)
    found = most_confident(clean, test.groups) + most_confident(under_noise, test.groups)
    if not test.names:
        return found
    return [replace(mistake, file=_kept(test.names[mistake.image], LONGEST_FILE)) for mistake in found]


def _kept(text: str, longest: int) -> str:
    """Returns a text as an evaluation's file can hold it: without what is no letter, and without its middle if it is long."""
    text = shown(text)
    half = longest // 2 - 1
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def images_sha256(test: ImageSet) -> str:
    """Returns the hash of keys, labels and groups; see `Evaluation.test_set_sha256`."""
    rows = zip(test.labels.tolist(), test.groups.tolist(), test.keys, strict=True)
    return hashlib.sha256("\n".join(f"{label} {group} {key}" for label, group, key in rows).encode()).hexdigest()
