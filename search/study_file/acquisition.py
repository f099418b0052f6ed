"""What a candidate of the TPE sampler promises besides its value: whether the prior speaks for it, and what it costs.

Prior: Hvarfner et al., piBO, ICLR 2022, eq. 6: the acquisition times the prior's density to the power of beta / n after n
trials, so that the trials have the last word. Cost: the acquisition divided by the seconds, to a power that falls from 1 to 0
as the budget runs out (Lee et al., Cost-aware Bayesian Optimization, 2020: cost cooling).

Both papers mean expected improvement. What is added to here is TPE's log l - log g, which orders candidates as that does but is
not its log: that would be -log(gamma + (1 - gamma) g / l) (Bergstra et al. 2011), which levels off where l is large. Log l -
log g spreads about twice as far among the candidates for four parameters, less for two and more for eight, so that prior and
cost weigh less beside it than in the papers. In simulated searches cost gained nothing (docs/search-quality.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import is_warm
from search.records.durations import duration_of
from search.study_file.distributions import fraction_of, value_at
from search.study_file.priors import Prior

BETA = 3.0
"""The prior's weight, in trials. With the 10 of piBO, where improvement differs by more between candidates than here, a wrong
prior was not forgotten within 60 trials."""

FEWEST_DURATIONS = 8
"""So many trials say what a config costs; with fewer, nothing does."""

_RIDGE = 1.0
_SHORTEST_S = 1e-3


@dataclass(frozen=True)
class Acquisition:
    """What the candidates of one trial are weighed by.

    Attributes:
        priors: By parameter.
        cost_weight: The exponent of the predicted seconds, in [0, 1]; 0 leaves cost out.
        per_report: A trial's length is not the sampler's to choose, so that seconds by report are what its config costs.
    """

    priors: Mapping[str, Prior] = field(default_factory=dict)
    cost_weight: float = 0.0
    per_report: bool = False

    def draw(self, name: str, distribution: BaseDistribution, fraction: float) -> Any:
        """Returns the value at a fraction of a parameter's prior, or of its range where it has none."""
        return self.priors[name].at(fraction) if name in self.priors else value_at(distribution, fraction)

    def terms(
        self, trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution], candidates: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64]:
        """Returns what each candidate gets in addition; see `search.optuna_internals.Weighing`."""
        total = np.zeros(len(next(iter(candidates.values()))))
        for name in self.priors.keys() & candidates.keys():
            total += BETA / (len(trials) + 1) * self.priors[name].log_density(candidates[name])
        if self.cost_weight > 0:
            total -= self.cost_weight * log_seconds(trials, space, candidates, per_report=self.per_report)
        return total


def log_seconds(
    trials: Sequence[FrozenTrial],
    space: Mapping[str, BaseDistribution],
    candidates: Mapping[str, NDArray[Any]],
    *,
    per_report: bool = False,
) -> NDArray[np.float64]:
    """Returns the log of the seconds that each candidate will take, by ridge regression on trials that have taken theirs.

    What is positive goes in by its log, so that a time proportional to a power of it is on a line; a choice is a column.

    A pruned trial counts only by its reports, since how long it would have been is not known; with `per_report` the seconds
    are those by report. Candidates are in Optuna's internal representation, one array of shape (candidates,) a parameter.

    Returns:
        Shape (candidates,); zeros where fewer than `FEWEST_DURATIONS` trials have all these parameters.
    """
    known = [
        (trial, seconds)
        for trial in trials
        if space.keys() <= trial.params.keys() and (seconds := _seconds(trial, per_report=per_report)) is not None
    ]
    if len(known) < FEWEST_DURATIONS:
        return np.zeros(len(next(iter(candidates.values()))))
    internal = {
        name: np.array([distribution.to_internal_repr(trial.params[name]) for trial, _ in known])
        for name, distribution in space.items()
    }
    rows, wanted = _features(space, internal), _features(space, candidates)
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale == 0] = 1.0
    rows, wanted = (rows - centre) / scale, (wanted - centre) / scale
    target = np.log([max(seconds, _SHORTEST_S) for _, seconds in known])
    weights = np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(rows.shape[1]), rows.T @ (target - target.mean()))
    return np.asarray(target.mean() + wanted @ weights)


def _seconds(trial: FrozenTrial, *, per_report: bool) -> float | None:
    """What a trial took, or an epoch of it; None where it does not tell."""
    seconds = duration_of(trial)
    if seconds is None or is_warm(trial):
        return None
    if per_report:
        reports = len(trial.intermediate_values)
        return seconds / reports if reports else None
    return seconds if trial.state is TrialState.COMPLETE else None


def _features(space: Mapping[str, BaseDistribution], values: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Shape (values, columns)."""
    columns: list[NDArray[np.float64]] = []
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            columns += [(values[name] == index).astype(np.float64) for index in range(len(distribution.choices))]
        elif isinstance(distribution, FloatDistribution | IntDistribution) and distribution.low > 0:
            columns.append(np.log(values[name]))
        else:
            columns.append(fraction_of(distribution, values[name]))
    return np.stack(columns, axis=1)
