"""Which parameters matter? fANOVA and PED-ANOVA, as Optuna computes them."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.importance._base import BaseImportanceEvaluator
from optuna.trial import FrozenTrial

_TREE_DEPTH = 8
"""Of fANOVA's forest. Optuna's default, 64, takes minutes for 2,000 trials, and its first two digits are the same."""

FEW = 30
"""With fewer COMPLETE trials, importances are a hint rather than a finding."""


@dataclass(frozen=True)
class Importances:
    """How much each parameter matters for one direction; each mapping adds up to 1.

    Attributes:
        fanova: Share of the variance over the whole space that a parameter explains alone; without parameters that some trials
            do not have.
        ped_anova: How far a parameter's distribution among the best tenth of the trials is from that among all.
        trials: How many COMPLETE trials they rest on.
    """

    fanova: Mapping[str, float]
    ped_anova: Mapping[str, float]
    trials: int

    def ranking(self) -> list[str]:
        """Returns the parameters by the mean of both shares, the most important first."""
        names = dict.fromkeys([*self.fanova, *self.ped_anova])
        return sorted(names, key=lambda name: (-self.fanova.get(name, 0.0) - self.ped_anova.get(name, 0.0), name))


def measure(study: optuna.Study, trials: Sequence[FrozenTrial], index: int, maximize: bool) -> Importances | None:
    """Returns the importances for one direction, or None: too few trials, all of one value or config, or nothing that varies.

    Args:
        study: The study.
        trials: Its COMPLETE trials with finite values.
        index: The direction.
        maximize: Whether more is better there.
    """
    values = {trial.values[index] for trial in trials}
    varied = any(not distribution.single() for trial in trials for distribution in trial.distributions.values())
    if len(values) < 2 or not varied or all(trial.params == trials[0].params for trial in trials):
        return None
    sign = -1.0 if maximize else 1.0
    # PED-ANOVA takes less for better; fANOVA does not care.
    target: Callable[[FrozenTrial], float] = lambda trial: sign * trial.values[index]  # noqa: E731
    fanova = _evaluate(study, FanovaImportanceEvaluator(max_depth=_TREE_DEPTH, seed=0), target)
    ped_anova = _evaluate(study, PedAnovaImportanceEvaluator(), target)
    return Importances(fanova, ped_anova, len(trials))


def _evaluate(
    study: optuna.Study, evaluator: BaseImportanceEvaluator, target: Callable[[FrozenTrial], float]
) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about few trials, which the page says itself
        found = get_param_importances(study, evaluator=evaluator, target=target)
    return {name: float(share) for name, share in found.items()}
