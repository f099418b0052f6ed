"""How does a model do on test images, clean and under noise? Predictions in, an `Evaluation` with intervals out."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import Rows
from tumorcls.errors import DataError
from tumorcls.evaluation import metrics
from tumorcls.evaluation.bootstrap import Resamples, draw_resamples, estimate
from tumorcls.evaluation.metrics import Floats, Labels
from tumorcls.evaluation.mistakes import Mistake, find_mistakes, most_confident
from tumorcls.evaluation.record import Condition, Evaluation, Scores, Summary
from tumorcls.labels import CLASSES
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""uint8 images (n, h, w, 3) in [0, 255] -> probabilities (n, k), rows that add up to 1."""

Probabilities = Mapping[tuple[str, int], Floats]
"""Probabilities (n, k) by noise and severity."""

RESAMPLES = 1000

_CHUNK = 512  # images corrupted at a time: 100 MB at 150 x 150 where all at once might be many GB


def evaluate_model(
    predict: Predict,
    images: Rows,
    labels: Labels,
    groups: NDArray[np.int64],
    keys: Sequence[str],
    noises: Sequence[str],
    *,
    name: str = "model",
    classes: Sequence[str] = CLASSES,
    severities: Sequence[int] = SEVERITY_LEVELS,
    noise_seed: int = 0,
    resamples: int = RESAMPLES,
    provenance: Mapping[str, str] | None = None,
    on_condition: Callable[[str, int], None] | None = None,
) -> Evaluation:
    """Measures a model on clean images and under every noise at every severity.

    Args:
        predict: The model.
        images: uint8 of shape (n, h, w, 3), RGB, [0, 255].
        labels: (n,) class indices.
        groups: (n,) images of one group are resampled together; see `tumorcls.evaluation.bootstrap`.
        keys: What identifies each image's content; decides its noise.
        noises: Names from `tumorcls.noise.kinds.NOISES`; none measures clean images only.
        name: Of the model, for people.
        classes: Names of its k classes, in the order of its probabilities.
        severities: From 1 to 5.
        noise_seed: Seed of the corruptions and of the bootstrap.
        resamples: Number of bootstrap resamples behind every interval.
        provenance: Kept with the result.
        on_condition: Called with noise and severity before each is measured, for a progress display.

    Raises:
        DataError: There is no image, or the model returned something other than (n, k) finite probabilities.
    """
    chunks = (images[at : at + _CHUNK] for at in range(0, max(1, len(images)), _CHUNK))
    clean = _predict_all(predict, chunks, len(classes))
    noisy: dict[tuple[str, int], Floats] = {}
    for noise, severity in product(dict.fromkeys(noises), sorted(set(severities))):
        if on_condition is not None:
            on_condition(noise, severity)
        noisy[noise, severity] = _predict_all(predict, _corrupted(images, noise, severity, noise_seed, keys), len(classes))
    return measure(
        clean,
        noisy,
        labels,
        groups,
        keys,
        name=name,
        classes=classes,
        noise_seed=noise_seed,
        resamples=resamples,
        provenance=provenance,
    )


def measure(
    clean: Floats,
    noisy: Probabilities,
    labels: Labels,
    groups: NDArray[np.int64],
    keys: Sequence[str],
    *,
    name: str = "model",
    classes: Sequence[str] = CLASSES,
    noise_seed: int = 0,
    resamples: int = RESAMPLES,
    provenance: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measures predictions that were already made; see `evaluate_model`.

    Args:
        clean: Probabilities (n, k) for images as they are.
        noisy: The same under each noise and severity.
        labels: See `evaluate_model`, as for all that follows.
        groups: Images of one group are resampled together.
        keys: What identifies each image's content.
        name: Of the model.
        classes: Names of its classes.
        noise_seed: With which `noisy` was made; also of the bootstrap.
        resamples: Number of bootstrap resamples.
        provenance: Kept with the result.
    """
    drawn = draw_resamples(groups, resamples, noise_seed)
    conditions, f1_samples = [], []
    clean_scores, clean_f1 = _score(labels, clean, drawn)
    for (noise, severity), probabilities in noisy.items():
        scores, samples = _score(labels, probabilities, drawn)
        conditions.append(Condition(noise, severity, scores))
        f1_samples.append(samples)
    return Evaluation(
        name=name,
        classes=tuple(classes),
        labels=tuple(labels.tolist()),
        groups=tuple(groups.tolist()),
        test_set_sha256=_fingerprint(labels, groups, keys),
        noise_seed=noise_seed,
        resamples=resamples,
        clean=clean_scores,
        noisy=tuple(conditions),
        summary=_summarise(clean_f1, conditions, f1_samples) if conditions else None,
        mistakes=tuple(_find_mistakes(clean, noisy, labels, groups, keys)),
        provenance=dict(provenance or {}),
    )


def _predict_all(predict: Predict, chunks: Iterable[NDArray[np.uint8]], classes: int) -> Floats:
    parts = []
    for chunk in chunks:
        if not len(chunk):
            raise DataError("test images: there must be at least one; got none. Give the test part a larger share.")
        part = np.asarray(predict(chunk), dtype=np.float64)
        if part.shape != (len(chunk), classes) or not np.isfinite(part).all():
            raise DataError(
                f"predictions: must be ({len(chunk)}, {classes}) finite probabilities; "
                f"got {part.shape} with {np.count_nonzero(~np.isfinite(part))} not finite. Train the model again."
            )
        parts.append(part)
    return np.concatenate(parts)


def _corrupted(images: Rows, noise: str, severity: int, seed: int, keys: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), _CHUNK):
        end = start + _CHUNK
        yield corrupt(images[start:end], noise, severity, seed, keys[start:end])


def _score(labels: Labels, probabilities: Floats, resamples: Resamples) -> tuple[Scores, Floats]:
    """Returns the scores, and the macro-F1 of the test set and of each resample, shape (1 + resamples,)."""
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    counts = metrics.confusion_matrix(labels, predicted, classes)
    cells = np.eye(classes**2)[labels * classes + predicted]
    confusion = resamples.sums(cells).reshape(-1, classes, classes)
    sums = metrics.calibration_sums(labels, probabilities)
    macro_f1, resampled_f1 = metrics.macro_f1(counts), metrics.macro_f1(confusion)
    recall, resampled_recall = metrics.recall(counts), metrics.recall(confusion)
    scores = Scores(
        accuracy=estimate(metrics.accuracy(counts), metrics.accuracy(confusion)),
        balanced_accuracy=estimate(metrics.balanced_accuracy(counts), metrics.balanced_accuracy(confusion)),
        macro_f1=estimate(macro_f1, resampled_f1),
        calibration_error=estimate(
            metrics.calibration_error(sums.sum(axis=0)), metrics.calibration_error(resamples.sums(sums))
        ),
        recall=tuple(estimate(recall[i], resampled_recall[:, i]) for i in range(classes)),
        precision=_optional(metrics.precision(counts)),
        f1=_optional(metrics.f1(counts)),
        roc_auc=tuple(metrics.roc_auc(labels, probabilities)),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        reliability=tuple(metrics.calibration_bins(sums.sum(axis=0))),
        predicted=tuple(predicted.tolist()),
    )
    return scores, np.concatenate([macro_f1[None], resampled_f1])


def _optional(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in values.tolist())


def _summarise(clean_f1: Floats, conditions: Sequence[Condition], f1_samples: Sequence[Floats]) -> Summary:
    """Returns the means over noises; which noise is the worst is decided on the test set, not in each resample."""
    by_noise: dict[str, list[Floats]] = {}
    for condition, samples in zip(conditions, f1_samples, strict=True):
        by_noise.setdefault(condition.noise, []).append(samples)
    means = {noise: np.mean(samples, axis=0) for noise, samples in by_noise.items()}
    noisy = np.mean(list(means.values()), axis=0)
    robust = (clean_f1 + noisy) / 2
    worst = min(means, key=lambda noise: float(means[noise][0]))
    noisy_f1, robust_f1, worst_f1 = (estimate(values[0], values[1:]) for values in (noisy, robust, means[worst]))
    return Summary(noisy_f1, robust_f1, worst_f1, worst)


def _find_mistakes(
    clean: Floats, noisy: Probabilities, labels: Labels, groups: NDArray[np.int64], keys: Sequence[str]
) -> list[Mistake]:
    """Returns the surest mistakes on clean images, then those under noise on images that were right when clean."""
    right = clean.argmax(axis=1) == labels
    under_noise = [
        mistake
        for (noise, severity), probabilities in noisy.items()
        for mistake in find_mistakes(probabilities, labels, keys, among=right, noise=noise, severity=severity)
    ]
    return most_confident(find_mistakes(clean, labels, keys), groups) + most_confident(under_noise, groups)


def _fingerprint(labels: Labels, groups: NDArray[np.int64], keys: Sequence[str]) -> str:
    rows = zip(labels.tolist(), groups.tolist(), keys, strict=True)
    return hashlib.sha256("\n".join(f"{label} {group} {key}" for label, group, key in rows).encode()).hexdigest()
