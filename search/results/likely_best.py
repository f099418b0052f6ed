"""Which trial of a study is likely the best one, given that values are noisy. The best value alone: `ranking.best_trials`.

The maximum of noisy values holds luck, the more of it the more trials there are (docs/reading-a-study.md). A Gaussian process
over the configs tells what similar ones share from what a trial has alone, its seed's luck: its posterior mean at a trial is a
value that is shrunken towards those of its neighbours. Chosen on other data than what it was measured on:
benchmarks/winner.py.
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

from search.records.attributes import is_result
from search.results.ranking import Metric, metrics_of
from search.study_file.distributions import fraction_of

FEWEST_RESULTS = 8
"""With fewer, the best value is as good a choice as any."""

_LENGTHS = (0.1, 10.0)  # of a range
_NOISE = (0.1, 1.0)  # of the values' variance; below it, with a few dozen trials, the process takes noise for a landscape


@dataclass(frozen=True)
class Winner:
    """A study's likely best trial.

    Attributes:
        trial: It.
        estimate: What its config would have on average over seeds.
        luckiest: The trial of the best value, which may be the same one.
        luckiest_estimate: The same of that.
        metric: What is estimated.
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
        pairs = ((self.trial, self.estimate), (self.luckiest, self.luckiest_estimate))
        chosen, luckiest = (
            f"trial {trial.number} ({self.metric.of(trial):.4g}, estimated {estimate:.4g})" for trial, estimate in pairs
        )
        return f"{chosen} instead of {luckiest}"


def likely_best(study: optuna.Study) -> Winner | None:
    """Returns the trial whose config is likely the best; None where that cannot be told, and the best value has to do.

    That is with several directions, with fewer than `FEWEST_RESULTS` results, and where configs explain nothing of the values.
    """
    metrics = metrics_of(study)
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_result(trial)]
    if len(metrics) > 1 or len(trials) < FEWEST_RESULTS:
        return None
    [metric] = metrics
    losses = np.array([metric.loss_of(trial) for trial in trials])
    estimates = _estimate(_features(trials), losses)
    if estimates is None:
        return None
    chosen = int(np.lexsort((losses, estimates))[0])  # of equal estimates, as one config run twice has, the better value
    luckiest = int(losses.argmin())
    estimated = [metric.sign * float(estimates[at]) for at in (chosen, luckiest)]
    return Winner(trials[chosen], estimated[0], trials[luckiest], estimated[1], metric)


def _estimate(features: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Returns the posterior mean at each trial, less is better; None where the process finds only noise."""
    from sklearn.exceptions import ConvergenceWarning  # takes a second to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    mean, scale = losses.mean(), losses.std()
    if not features.shape[1] or not np.isfinite(scale) or scale == 0:
        return None
    signal = ConstantKernel(1.0, (0.1, 10.0)) * Matern(1.0, _LENGTHS, nu=2.5)
    process = GaussianProcessRegressor(signal + WhiteKernel(0.1, _NOISE), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at the end of its range
        process.fit(features, (losses - mean) / scale)
    if process.kernel_.k2.noise_level > 0.99 * _NOISE[1]:
        return None
    return np.asarray(process.predict(features) * scale + mean)


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
