"""A portfolio: the few configs that did best across several studies, which a new one tries first.

A config stands in each study by the rank of what is near it there, so that neither the scale of the values nor a single lucky
one decides. The portfolio is put together greedily: each config is the one that most lowers the best rank of the portfolio, on
average over the studies (Feurer et al., Auto-sklearn 2.0, JMLR 23, 2022, sect. 4.1). It is kept with the study, which has
the same one when it is resumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection

from search.driver.warm_start import counted, fit_params
from search.errors import StudyError
from search.records.attributes import PORTFOLIO_KEY, is_result
from search.records.beginnings import Portfolio, portfolio_of
from search.study_file.distributions import fraction_of
from search.study_file.load import StudySpec
from search.study_file.samplers import FINITE
from search.text import plain

MOST = 5
"""So many configs at most."""

_CANDIDATES = 10  # the best of each study
_NEAREST = 3  # trials of a study that say how a config would do there
_DUPLICATE = 0.1  # mean distance of the parameters, as parts of their ranges
_GAIN = 0.01  # of a rank, in the mean over the studies; what adds less is left out


def add_portfolio(study: optuna.Study, spec: StudySpec, sources: Sequence[optuna.Study]) -> list[str]:
    """Gives a study that has no trial yet the portfolio of two or more others; one that has the same already keeps it.

    Returns:
        What a person must know of it, line by line.

    Raises:
        StudyError: The study has trials or another portfolio, its sampler draws nothing, or a source has another direction.
    """
    names = tuple(source.study_name for source in sources)
    before = portfolio_of(study)
    _check(study, spec, sources, before)
    if before is not None:
        return []
    tables = [Table.of(source, spec) for source in sources]
    configs = choose(spec.drawn, tables)
    study.set_user_attr(PORTFOLIO_KEY, {"studies": list(names), "configs": configs})
    shown = f"{', '.join(map(plain, names[:-1]))} and {plain(names[-1])}"
    lines = [f"Portfolio: {counted(len(configs), 'config')} that did best across {shown}, tried first."]
    for source, table in zip(sources, tables, strict=True):
        if not table.configs:
            lines.append(f"Nothing of {plain(source.study_name)} fits: it has no COMPLETE trial whose values this space holds.")
    return lines


@dataclass(frozen=True)
class Table:
    """What is known of one study.

    Attributes:
        configs: Its results that fit the new space, the best first; without a fidelity, which is the driver's choice.
        ranks: The rank of each, from 0, the best, to 1; shape (configs,).
    """

    configs: Sequence[Mapping[str, Any]]
    ranks: NDArray[np.float64]

    @classmethod
    def of(cls, source: optuna.Study, spec: StudySpec) -> Self:
        """Returns what a study says of configs of the new one."""
        sign = -1 if source.direction is StudyDirection.MAXIMIZE else 1
        results = sorted(filter(is_result, source.get_trials(deepcopy=False)), key=lambda trial: sign * trial.values[0])
        configs, ranks = [], []
        for place, trial in enumerate(results):
            params, _ = fit_params(trial, source, spec, whole=False)
            if drawn := {name: value for name, value in params.items() if name in spec.drawn}:
                configs.append(drawn)
                ranks.append(place / max(len(results) - 1, 1))
        return cls(configs, np.array(ranks))

    def rank_of(self, config: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> float:
        """Returns the rank that a config has here, as the trials nearest to it say; 1 where there is none."""
        if not self.configs:
            return 1.0
        nearest = np.argsort([distance(config, other, space) for other in self.configs], kind="stable")[:_NEAREST]
        return float(self.ranks[nearest].mean())


def choose(space: Mapping[str, BaseDistribution], tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Returns the portfolio, the config that did best across all studies first."""
    candidates = [config for table in tables for config in table.configs[:_CANDIDATES]]
    ranks = np.array([[table.rank_of(config, space) for table in tables] for config in candidates])
    chosen: list[dict[str, Any]] = []
    left = np.ones(len(tables))
    while len(chosen) < MOST:
        new = [
            at for at, config in enumerate(candidates) if all(distance(config, other, space) >= _DUPLICATE for other in chosen)
        ]
        if not new:
            break
        after = np.minimum(left, ranks[new])
        best = int(after.mean(axis=1).argmin())
        if left.mean() - after[best].mean() < _GAIN:
            break
        chosen.append(dict(candidates[new[best]]))
        left = after[best]
    return chosen


def distance(one: Mapping[str, Any], other: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> float:
    """Returns how far two configs are from each other, in [0, 1]: the mean over the parameters that either of them has."""
    names = [name for name in space if name in one or name in other]
    return float(np.mean([_apart(one, other, name, space[name]) for name in names])) if names else 0.0


def _apart(one: Mapping[str, Any], other: Mapping[str, Any], name: str, distribution: BaseDistribution) -> float:
    if name not in one or name not in other:
        return 1.0
    if isinstance(distribution, CategoricalDistribution):
        return float(one[name] != other[name])
    places = fraction_of(distribution, np.array([one[name], other[name]]))
    return float(abs(places[0] - places[1]))


def _check(study: optuna.Study, spec: StudySpec, sources: Sequence[optuna.Study], before: Portfolio | None) -> None:
    where = f'study "{study.study_name}"'
    if spec.sampler.name in FINITE:
        raise StudyError(
            f"{where}: a portfolio needs a sampler that draws; got {spec.sampler.name}. Name one study, or take tpe."
        )
    for source in sources:
        if len(study.directions) > 1 or source.directions != study.directions:
            got = ", ".join(direction.name.lower() for direction in source.directions)
            raise StudyError(
                f'{where}: a portfolio is of studies with one direction, this one\'s; got {got} from "{source.study_name}".'
            )
    names = tuple(source.study_name for source in sources)
    if before is not None and before.studies != names:
        kept, got = ", ".join(before.studies), ", ".join(names)
        raise StudyError(f"{where}: must keep its portfolio, of {kept}; got {got}. Add --as with another name.")
    if before is None and (count := len(study.get_trials(deepcopy=False))):
        raise StudyError(f"{where}: must be new for a portfolio; got {counted(count, 'trial')}. Add --as with another name.")
