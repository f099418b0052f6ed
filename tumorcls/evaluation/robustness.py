"""How a model does next to another: paired differences of its scores, and MedMNIST-C's balanced error ratios.

The ratios are those of Di Salvo et al. 2024, "MedMNIST-C", after Hendrycks & Dietterich 2019: with b(s) the balanced error
(1 - balanced accuracy) of a model at severity s, b(0) the clean one, and r(s) the reference's,

    BE = sum b(s) / sum r(s),    rBE = sum (b(s) - b(0)) / sum (r(s) - r(0)).

The formulas are its own, the reference is not its AlexNet, and the corruptions are not all its own (`tumorcls.noise.unseen`):
neither ratios nor their mean compare with those of its tables.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from tumorcls.errors import DataError
from tumorcls.evaluation import metrics
from tumorcls.evaluation.bootstrap import Estimate, Resamples, draw_resamples, estimate
from tumorcls.evaluation.metrics import Floats
from tumorcls.evaluation.record import Condition, Evaluation, Scores
from tumorcls.evaluation.relative import Differences, Relative, RelativeError

MIN_REFERENCE_ERROR = 0.01
"""Smallest mean of r(s), or of r(s) - r(0), to divide by: below one point of balanced accuracy the ratio is noise."""

_NEWER = ("rician",)
"""What an evaluation of before was not measured under; next to one as a reference it is left out."""


def compare(evaluation: Evaluation, reference: Evaluation) -> Evaluation:
    """Returns the evaluation next to the reference's, with paired bootstrap intervals.

    Raises:
        DataError: The two were not measured on the same images under the same noise.
    """
    measured = (evaluation.noisy, evaluation.unseen)
    check_reference(reference, evaluation.test_set_sha256, evaluation.noise_seed, *map(_conditions, measured))
    resamples = draw_resamples(np.array(evaluation.groups), evaluation.resamples, evaluation.noise_seed)

    def errors(noises: tuple[str, ...]) -> tuple[RelativeError, ...]:
        ratios = [_ratios(evaluation, reference, noise, resamples) for noise in noises]
        each = [RelativeError(noise, *map(estimate, pair)) for noise, pair in zip(noises, ratios, strict=True)]
        if not ratios:
            return ()
        return *each, RelativeError("mean", *(estimate(np.mean(kind, axis=0)) for kind in zip(*ratios, strict=True)))

    shared = tuple(kind for kind in evaluation.unseen_kinds if reference.under(kind))
    differences = _differences(evaluation, reference, shared, resamples)
    relative = Relative(reference.name, errors(evaluation.noises), errors(shared), differences)
    return replace(evaluation, relative=relative)


def not_compared(evaluation: Evaluation) -> tuple[str, ...]:
    """Returns under what an evaluation was measured and, where it was compared, its reference was not."""
    had = {error.noise for error in evaluation.relative.unseen} if evaluation.relative else set(evaluation.unseen_kinds)
    return tuple(kind for kind in evaluation.unseen_kinds if kind not in had)


def check_reference(
    reference: Evaluation,
    images_sha256: str,
    noise_seed: int,
    conditions: Iterable[tuple[str, int]],
    unseen: Iterable[tuple[str, int]],
) -> None:
    """Refuses a reference that an evaluation of these images under these conditions could not be compared with.

    A condition is a noise, one of those that chose the model, with a severity. `unseen` is the same of what it has never seen;
    of that a reference of before may lack what was not measured then.

    Raises:
        DataError: It was measured on other images, with another noise seed or under fewer conditions.
    """
    if (images_sha256, noise_seed) != (reference.test_set_sha256, reference.noise_seed):
        raise DataError(
            "reference: must be measured on the same test images with the same noise seed; got others. "
            "Evaluate the reference model on this split."
        )
    known = [(kind, severity) for kind, severity in unseen if kind not in _NEWER or reference.under(kind)]
    missing = {*conditions, *known}.difference(_conditions((*reference.noisy, *reference.unseen)))
    if missing:
        noise, severity = min(missing)
        raise DataError(f"reference: must be measured under every noise; got no {noise} {severity}. Evaluate it under all.")


def _conditions(measured: Iterable[Condition]) -> list[tuple[str, int]]:
    return [(condition.noise, condition.severity) for condition in measured]


def _differences(evaluation: Evaluation, reference: Evaluation, unseen: tuple[str, ...], resamples: Resamples) -> Differences:
    """Returns what is gained over the reference; `unseen` is what both were measured under."""

    def difference(of: Callable[[Evaluation], Floats]) -> Estimate:
        return estimate(of(evaluation) - of(reference))

    def mean_f1(noises: tuple[str, ...]) -> Estimate | None:
        measured = [(one.noise, one.severity) for noise in noises for one in evaluation.under(noise)]
        if not measured:
            return None

        def of(one: Evaluation) -> Floats:
            scores = {(condition.noise, condition.severity): condition.scores for condition in (*one.noisy, *one.unseen)}
            return np.asarray(np.mean([metrics.macro_f1(_confusions(one, scores[key], resamples)) for key in measured], axis=0))

        return difference(of)

    return Differences(
        difference(lambda one: metrics.accuracy(_confusions(one, one.clean, resamples))),
        difference(lambda one: metrics.macro_f1(_confusions(one, one.clean, resamples))),
        mean_f1(evaluation.noises),
        mean_f1(unseen),
    )


def _ratios(evaluation: Evaluation, reference: Evaluation, noise: str, resamples: Resamples) -> tuple[Floats, Floats]:
    """Returns BE and rBE, each of shape (1 + resamples,): the measured value first; NaN where it is not defined."""
    severities = {condition.severity for condition in evaluation.under(noise)}

    def errors(of: Evaluation) -> tuple[Floats, Floats]:
        clean = _balanced_error(of, of.clean, resamples)
        shared = [condition.scores for condition in of.under(noise) if condition.severity in severities]
        mean = np.mean([_balanced_error(of, scores, resamples) for scores in shared], axis=0)
        return mean, mean - clean

    (ours, our_rise), (theirs, their_rise) = errors(evaluation), errors(reference)
    return metrics.ratio(ours, theirs, MIN_REFERENCE_ERROR), metrics.ratio(our_rise, their_rise, MIN_REFERENCE_ERROR)


def _balanced_error(evaluation: Evaluation, scores: Scores, resamples: Resamples) -> Floats:
    return 1 - metrics.balanced_accuracy(_confusions(evaluation, scores, resamples))


def _confusions(evaluation: Evaluation, scores: Scores, resamples: Resamples) -> Floats:
    return resamples.confusions(np.array(evaluation.labels), np.array(scores.predicted), len(evaluation.classes))
