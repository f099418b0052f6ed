"""Measures which parameters matter: fANOVA and PED-ANOVA, as Optuna computes them."""

import math
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial

from search.optuna_internals import add_trial
from search.results.ranking import Metric
from search.results.report.outliers import cut
from search.text import one_line, plain

_TREE_DEPTH = 8
"""Of fANOVA's forest. Optuna's default, 64, takes minutes for 2,000 trials, and its first two digits are the same."""

_BEST = 0.1
"""Share of the trials that PED-ANOVA takes for the best."""

FEW = 30
"""With fewer COMPLETE trials, importances are a hint rather than a finding."""


@dataclass(frozen=True)
class Importances:
    """How much each parameter matters for one direction.

    Attributes:
        fanova: Share of the variance over the whole space that a parameter explains alone, outliers cut; without parameters
            that some trials do not have.
        ped_anova: How far a parameter's distribution among the best trials is from that among all; adds up to 1.
        trials: How many COMPLETE trials they rest on.
        best: How many of them PED-ANOVA takes for the best: a tenth, and those that are as good.
        failed: What could not be computed, and why, a sentence each.
    """

    fanova: Mapping[str, float]
    ped_anova: Mapping[str, float]
    trials: int
    best: int
    failed: tuple[str, ...] = ()

    def ranking(self) -> list[str]:
        """Returns the parameters by the mean of both shares, the most important first."""
        names = dict.fromkeys([*self.fanova, *self.ped_anova])
        return sorted(names, key=lambda name: (-self.fanova.get(name, 0.0) - self.ped_anova.get(name, 0.0), name))

    def together(self) -> float:
        """Returns the share of the variance that no parameter explains alone: several do together, or luck does."""
        return max(0.0, 1.0 - sum(self.fanova.values()))

    def left_out(self) -> list[str]:
        """Returns the parameters that fANOVA, where there is one, leaves out."""
        return [name for name in self.ped_anova if name not in self.fanova] if self.fanova else []


def measure(study: optuna.Study, trials: Sequence[FrozenTrial], metric: Metric) -> Importances | None:
    """Returns the importances for one direction, of COMPLETE trials with finite values.

    None where there are too few, all have one value or config, or nothing varies.
    """
    values = [metric.of(trial) for trial in trials]
    varied = any(not distribution.single() for trial in trials for distribution in trial.distributions.values())
    if len(set(values)) < 2 or not varied or all(trial.params == trials[0].params for trial in trials):
        return None
    shares, failed, only = [], [], _only(study, trials)
    loss = _loss(cut(values, metric.maximize)[0], metric)
    for name, evaluator in (
        ("fANOVA", FanovaImportanceEvaluator(max_depth=_TREE_DEPTH, seed=0)),
        ("PED-ANOVA", PedAnovaImportanceEvaluator(target_quantile=_BEST)),
    ):
        found, why = _evaluate(only, evaluator, loss)
        shares.append(found)
        failed += [f"{name} cannot be had; Optuna says: {why}."] if why else []
    return Importances(shares[0], shares[1], len(trials), _count_best([loss(trial) for trial in trials]), tuple(failed))


def _count_best(losses: Sequence[float]) -> int:
    """Returns how many trials PED-ANOVA compares with all: those up to the worst of the best tenth."""
    cutoff = sorted(losses)[math.ceil(_BEST * len(losses)) - 1]
    return sum(loss <= cutoff for loss in losses)


def _loss(values: Collection[float], metric: Metric) -> Callable[[FrozenTrial], float]:
    """Returns the value with its sign such that less is better, which PED-ANOVA wants, in [-1, 1] for what fANOVA squares.

    Neither minds the scale, but both do arithmetic that the smallest and the largest numbers are lost in. What lies beyond
    `values` counts as the next of them.
    """
    low, high = min(values), max(values)
    middle, half = low / 2 + high / 2, max(high / 2 - low / 2, sys.float_info.min)
    return lambda trial: metric.sign * (min(max(metric.of(trial), low), high) - middle) / half


def _only(study: optuna.Study, trials: Sequence[FrozenTrial]) -> optuna.Study:
    """Returns a study of these trials alone: others may have values that are none, which Optuna's evaluators take."""
    copy = optuna.create_study(directions=study.directions)
    for trial in trials:
        add_trial(copy, trial)
    return copy


def _evaluate(
    study: optuna.Study, evaluator: BaseImportanceEvaluator, target: Callable[[FrozenTrial], float]
) -> tuple[dict[str, float], str]:
    """Returns the shares, or none and why: what a study may hold is more than Optuna's evaluators are made for.

    Those of fANOVA are of all variance; normalized they would be of what parameters explain alone, however little that is.
    """
    normalize = not isinstance(evaluator, FanovaImportanceEvaluator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about few trials, which the page says itself
            found = get_param_importances(study, evaluator=evaluator, target=target, normalize=normalize)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return {}, plain(one_line(error) or type(error).__name__).rstrip(".")
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}, ""
