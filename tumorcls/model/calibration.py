"""How sure may a model say it is, and when should it rather say nothing? Both are chosen on validation images.

One temperature divides all logits (Guo et al. 2017, "On Calibration of Modern Neural Networks", sec. 4.2): it changes how sure
the model is, never which class it names. Below a threshold of confidence the answer is "uncertain" (selective classification:
Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks").
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tumorcls.data.labels import counted
from tumorcls.errors import ModelError
from tumorcls.evaluation.metrics import Floats, Labels, risk_coverage
from tumorcls.model.conformal import COVERAGE, ClassSets, Share, calibrate_sets, range_of_shares

_SUM_TOLERANCE = 1e-3

MAX_ERROR = 0.05
"""Share of wrong answers that is accepted among those given, unless another is asked for."""

_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibration:
    """What validation images said about a model's confidence; limits hold where one is read from a file.

    Attributes:
        temperature: Divides the logits; above 1 the model had been too sure.
        threshold: Confidence in [0, 1] below which the answer is "uncertain".
        max_error: Share of wrong answers that the threshold was chosen for.
        coverage: Share of the validation images that get an answer.
        error: Share of these answers that is wrong; above `max_error` where no threshold reached it.
        images: Number of validation images.
        sets: What they said about sets of classes; None in the file of a model that was trained without.
        groups: How many patients, or pictures, the validation images show; None in the file of a model that does not say it.
    """

    temperature: Annotated[float, Field(gt=0.0, le=100.0, allow_inf_nan=False)]
    threshold: Share
    max_error: Share
    coverage: Share
    error: Share
    images: Annotated[int, Field(ge=0, lt=2**31)]
    sets: ClassSets | None = None
    groups: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    @property
    def answered(self) -> int:
        """How many of the validation images get an answer."""
        return round(self.coverage * self.images)

    @property
    def wrong(self) -> int:
        """How many of these answers are wrong."""
        return round(self.error * self.answered)

    @property
    def promise(self) -> str:
        """What so many groups can tell of the share of sets that hold the true class; nothing where no file says how many."""
        if self.sets is None or self.groups is None:
            return ""
        shares = range_of_shares(self.sets.coverage, self.groups)
        told = "too few to promise it" if shares is None else f"between {shares[0]:.1%} and {shares[1]:.1%} of them may"
        return f"from {counted(self.images, 'image')} in {counted(self.groups, 'group')}, {told}"


def calibrate(
    logits: NDArray[np.floating],
    labels: Labels,
    max_error: float = MAX_ERROR,
    coverage: float = COVERAGE,
    groups: int | None = None,
) -> Calibration:
    """Chooses temperature, threshold and the cutoff of sets of classes.

    Logits (n, k) are of validation images, none of which may have been trained on, labels (n,) the true class indices. A share
    `coverage` of the sets, in (0, 1), is to hold the true class; `max_error` and `groups` are those of a `Calibration`.
    """
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits, temperature)
    threshold, answered, error = choose_threshold(probabilities, labels, max_error)
    sets = calibrate_sets(probabilities, labels, coverage)
    return Calibration(temperature, threshold, max_error, answered, error, len(labels), sets, groups)


def fit_temperature(logits: NDArray[np.floating], labels: Labels) -> float:
    """Returns the temperature with the smallest negative log-likelihood of the labels, between 0.05 and 20."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(np.asarray(logits, np.float64) / np.exp(log_temperature), axis=1)
        return float(-log_probabilities[np.arange(len(labels)), labels].mean())

    optimum = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(optimum.x))


def choose_threshold(probabilities: Floats, labels: Labels, max_error: float) -> tuple[float, float, float]:
    """Returns the lowest threshold whose answers are wrong in at most a share `max_error`, its coverage and its error.

    Where none is that good, the threshold with the fewest wrong answers is taken, of several the lowest.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    thresholds, coverage, error = risk_coverage(confidence, wrong)
    chosen = np.flatnonzero(error <= max(max_error, error.min()))[-1]
    whole = chosen == len(thresholds) - 1
    return 0.0 if whole else float(thresholds[chosen]), float(coverage[chosen]), float(error[chosen])


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Returns probabilities (n, k) of logits (n, k) divided by a temperature."""
    from scipy.special import softmax as of

    probabilities: Floats = of(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return probabilities


def mean_answer(logits: NDArray[np.floating], mirrored: NDArray[np.floating]) -> NDArray[np.float32]:
    """Returns probabilities (n, k) of the mean of logits of images and of their mirror images; see `check_probabilities`."""
    with np.errstate(all="ignore"):  # logits that are not finite are told there
        probabilities: NDArray[np.float32] = softmax((logits + mirrored) / 2).astype(np.float32)
    return probabilities


def check_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns what a network answered, (n, k), where each row is finite, not negative and adds up to 1.

    Finite weights may still overflow on their way through the network; no answer is better than one that means nothing.

    Raises:
        ModelError: A row is not so.
    """
    wrong = ~(np.isfinite(probabilities).all(axis=1) & (probabilities >= 0).all(axis=1))
    wrong |= ~(np.abs(probabilities.sum(axis=1) - 1) < _SUM_TOLERANCE)
    if wrong.any():
        row = " ".join(f"{value:.3g}" for value in probabilities[int(wrong.argmax())].tolist())
        raise ModelError(f"model: must answer with probabilities that add up to 1; got {row}. Train it again.")
    return probabilities
