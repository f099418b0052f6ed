"""Which trial of a study is likely the best one, given that values are noisy. The best value alone: `ranking.best_trials`.

A Gaussian process over the configs tells what similar ones share from what a trial has alone, its seed's luck or, of a rugged
objective, its config's own: its posterior mean at a trial is a value that is shrunken towards those of its neighbours. What
that gains, and where it errs, is in docs/reading-a-study.md: on other data than it was chosen on (benchmarks/winner.py), and on
landscapes that are known (benchmarks/winner_simulated.py).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from search.results.ranking import Metric, metrics_of, rank
from search.results.statistics import show_among
from search.study_file.distributions import fraction_of

FEWEST_RESULTS = 20
"""With fewer, the best value is as good a choice as any."""

_MOST_LEARNED, _MOST_TOLD = 500, 2000
"""From so many results lengths and noise are learned, and so many tell of one another: the time grows with their cube."""

_LENGTHS = (0.1, 10.0)  # of a range
_NOISE, _EXACT = 0.1, 1e-6
_SURELY = 5.0
"""The least share of noise in the values' variance; less where that makes them likelier by so many nats.

With a few dozen trials the process takes noise for a landscape where it may. Smooth values without noise show it with as many.
"""

_RUGGED, _RIDGES = 0.2, (0.02, 0.05, 0.1, 0.2)
"""How likely what a trial has alone is its config's own, before values tell, and how far such ridges reach, of a range.

Values of trained models are noisy as a rule. Where no two configs are as near as that, values tell nothing of it.
"""

_CLOSE = 3
"""Among so many best values the choice is made, unless values tell of noise: they make the share `_RUGGED` half as large."""


@dataclass(frozen=True)
class Winner:
    """A study's likely best trial, and that of the best value, the luckiest, which may be the same one.

    The estimates are of the values that their configs would have on average over seeds.
    """

    trial: FrozenTrial
    estimate: float
    luckiest: FrozenTrial
    luckiest_estimate: float
    metric: Metric

    @property
    def differs(self) -> bool:
        """Whether it is another trial than that of the best value."""
        return self.trial.number != self.luckiest.number

    def describe(self) -> str:
        """Returns what was chosen instead of what, and why, in one line."""
        trials, estimates = (self.trial, self.luckiest), (self.estimate, self.luckiest_estimate)
        values = [self.metric.of(trial) for trial in trials]
        chosen, luckiest = (
            f"trial {trial.number} ({show_among(value, values)}, estimated {show_among(estimate, estimates)})"
            for trial, value, estimate in zip(trials, values, estimates, strict=True)
        )
        return f"{chosen} instead of {luckiest}"


def likely_best(study: optuna.Study) -> Winner | None:
    """Returns the trial whose config is likely the best; None where that cannot be told, and the best value has to do.

    That is with several directions, with fewer than `FEWEST_RESULTS` results that are not far worse than the best, and where
    configs explain nothing of the values.
    """
    metrics = metrics_of(study)
    trials = rank(study.get_trials(deepcopy=False), metrics)
    if len(metrics) > 1 or len(trials) < FEWEST_RESULTS:
        return None
    [metric] = metrics
    losses = np.array([metric.loss_of(trial) for trial in trials])
    sound = _count_sound(losses)
    if sound < FEWEST_RESULTS:
        return None
    trials, losses = trials[:sound], losses[:sound]
    estimated = _estimate(_features(trials), losses)
    if estimated is None:
        return None
    estimates, rugged = estimated
    eligible = estimates[: _CLOSE if rugged > _RUGGED / 2 else None]
    chosen = int(eligible.argmin())  # the first of equal ones, as one config run twice has, is of the better value
    likely, luckiest = (metric.sign * float(estimates[at]) for at in (chosen, 0))
    return Winner(trials[chosen], likely, trials[0], luckiest, metric)


def _count_sound(losses: NDArray[np.float64]) -> int:
    """Returns how many trials are not far worse than the better half, of all, of which the best come first: half at least.

    Far worse is more than three interquartile ranges beyond the worse quartile, as in the report's charts. Where more than a
    quarter have diverged, that quartile is one of them, and the better half tells: seven times its range from the median on. Of
    a symmetric distribution the first limit is seven times half the interquartile range from the median.
    """
    shares = losses / max(np.abs(losses).max(), np.finfo(float).tiny)  # three times the largest numbers are none
    best, low, middle, high = np.quantile(shares, [0, 0.25, 0.5, 0.75])
    fences = ((high, 3 * (high - low)), (middle, 7 * (middle - best)))
    limits = [start + reach for start, reach in fences if reach > 0]
    return int(np.searchsorted(shares, min(limits), side="right")) if limits else len(losses)


def _estimate(features: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """Returns the estimate at each trial, of the best `_MOST_TOLD` from one another, and how likely the objective is rugged.

    None where configs explain nothing. The estimate is the posterior mean and, by how likely that is, what the trial has alone:
    as likely as values are where close trials share it. Less is better, and the best trials come first.
    """
    from scipy.special import expit, logit
    from sklearn.exceptions import ConvergenceWarning  # takes a second to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    largest = np.abs(losses).max()
    shares = losses / largest if largest > 0 else losses  # the squares of the largest numbers are none
    mean, scale = shares.mean(), shares.std()
    if not features.shape[1] or scale == 0:
        return None
    standard = (shares - mean) / scale
    learned = np.linspace(0, len(losses) - 1, min(len(losses), _MOST_LEARNED)).astype(int)  # good and bad ones
    told = slice(_MOST_TOLD)
    signal = ConstantKernel(1.0, (0.1, 10.0)) * Matern(1.0, _LENGTHS, nu=2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at the end of its range
        noisy, exact = (
            GaussianProcessRegressor(signal + WhiteKernel(least, (least, 1.0)), random_state=0).fit(
                features[learned], standard[learned]
            )
            for least in (_NOISE, _EXACT)
        )
    likelier = exact.log_marginal_likelihood_value_ - noisy.log_marginal_likelihood_value_
    process = exact if likelier > _SURELY else noisy
    smooth, alone = process.kernel_.k1, process.kernel_.k2.noise_level
    if alone > 0.99:  # of 1: configs explain nothing
        return None
    ridges = [smooth + alone * Matern(length, nu=2.5) + WhiteKernel(_EXACT) for length in _RIDGES]
    process, *rugged = (
        GaussianProcessRegressor(kernel, optimizer=None).fit(features[told], standard[told])
        for kernel in (process.kernel_, *ridges)
    )
    shared = max(ridge.log_marginal_likelihood_value_ for ridge in rugged) - process.log_marginal_likelihood_value_
    ruggedness = float(expit(logit(_RUGGED) + shared))
    means = process.predict(features[told])
    means += ruggedness * (standard[told] - means)
    return (means * scale + mean) * largest, ruggedness


def _features(trials: Sequence[FrozenTrial]) -> NDArray[np.float64]:
    """A row for each trial: numbers by their place in their range, a column for each choice, and 0 for what is not there."""
    space = {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
    columns: list[Any] = []
    for name, distribution in space.items():
        there = np.array([name in trial.params for trial in trials])
        known = [distribution.to_internal_repr(trial.params[name]) for trial in trials if name in trial.params]
        internal = np.full(len(trials), np.nan)
        internal[there] = known
        if isinstance(distribution, CategoricalDistribution):
            # Two choices are as far from each other as the two ends of a range.
            columns += [(internal == index) / np.sqrt(2) for index in range(len(distribution.choices))]
            continue
        columns.append(np.where(there, fraction_of(distribution, internal), 0.0))
        if not there.all():
            columns.append(there)
    return np.stack(columns, axis=1).astype(np.float64) if columns else np.empty((len(trials), 0))
