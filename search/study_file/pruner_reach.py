"""Refuses a pruner that can never prune: one that waits for more trials or more reports than there will be."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.pruners import BasePruner

from search.study_file.rule_errors import rule_error
from search.text import show


@dataclass(frozen=True)
class Reach:
    """What a study gives a pruner to work with.

    Attributes:
        trials: The budget; None where it is no matter.
        reports: The most reports of a trial before its last one, when there is nothing left to save; None where that is not
            known.
        source: Where the file tells it.
        each: What a report is: one of a run's epochs, which follow on each other, or one of several runs, which are independent
            of each other; None where that is not known.
    """

    trials: int | None = None
    reports: int | None = None
    source: str = ""
    each: Literal["epoch", "run"] | None = None


def reach_of(space: Mapping[str, BaseDistribution], settings: Mapping[str, Any], reports: Mapping[str, Sequence[str]]) -> Reach:
    """Returns the reach in a study whose objective says how often it reports, whatever the budget.

    `reports` names, by ``run`` and ``epoch``, the settings and parameters that say how many there are. A trial reports its runs
    where there are several, else its epochs; what some trials of a study report, and others not, is not known.
    """
    for key in reports.get("run", ()):
        where, values = _values_of(key, space, settings)
        if several := [value for value in values if _is_count(value) and value > 1]:
            most = max(several)
            return Reach(None, most - 1, f"{where} = {most}", "run") if len(several) == len(values) else Reach()
    for key in reports.get("epoch", ()):
        where, values = _values_of(key, space, settings)
        if counts := list(filter(_is_count, values)):
            return Reach(None, max(counts) - 1, f"{where} = {max(counts)}", "epoch")
    return Reach()


def steps_of(params: Mapping[str, Any], settings: Mapping[str, Any], reports: Mapping[str, Sequence[str]]) -> int | None:
    """Returns how many reports a trial makes, its last one too; None where nothing tells. `reports` is as in `reach_of`."""
    given = {**settings, **params}
    runs, epochs = ([given[key] for key in reports.get(each, ()) if _is_count(given.get(key))] for each in ("run", "epoch"))
    return next((count for count in runs if count > 1), next(iter(epochs), None))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _values_of(key: str, space: Mapping[str, BaseDistribution], settings: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
    """Returns where a key stands in a study file, and the values that it may have: of a range the ends."""
    if key not in space:
        return f"objective.{key}", (settings.get(key),)
    distribution = space[key]
    if isinstance(distribution, IntDistribution):
        return f"space.{key}", (distribution.low, distribution.high)
    return f"space.{key}", distribution.choices if isinstance(distribution, CategoricalDistribution) else ()


def check_reach(name: str, kind: type[BasePruner], options: Mapping[str, Any], reach: Reach) -> None:
    """Raises the broken rule where the pruner could never prune a trial; its class has the defaults of its options."""
    _check_kind(name, reach)
    defaults = {key: parameter.default for key, parameter in inspect.signature(kind).parameters.items()}
    own = {**defaults, **options}
    option, wanted = _trials_before(name, own)
    if reach.trials is not None and wanted >= reach.trials:
        why = f"it waits for complete trials, {wanted} at least, which must be below the budget of {reach.trials} trials"
        _refuse(name, option, own, why)
    if name == "hyperband" and isinstance(own["max_resource"], int) and own["max_resource"] < own["min_resource"]:
        _refuse(name, "max_resource", own, f"max_resource must be at least min_resource = {own['min_resource']}")
    option, needed = _reports_before(own)
    if reach.reports is not None and needed > reach.reports:
        why = f"it needs {needed} reports of a trial, and {reach.source} has {reach.reports} before the last"
        _refuse(name, option, own, why)


def _check_kind(name: str, reach: Reach) -> None:
    """Raises the broken rule where the pruner would read something into the reports that is not there."""
    if name == "wilcoxon" and reach.each == "epoch":
        rule = f"wilcoxon compares results that are independent of each other; {reach.source} makes a trial report its epochs"
        remedy = "Set folds or repeats in [objective], or choose another pruner."
        raise rule_error(rule, got=show(name), remedy=remedy, key="name")
    if name == "patient" and reach.each == "run":
        rule = (
            f"patient waits for a run to improve; {reach.source} makes a trial report runs that are independent of each other"
        )
        raise rule_error(rule, got=show(name), remedy="Choose wilcoxon, or another pruner.", key="name")


def _trials_before(name: str, options: Mapping[str, Any]) -> tuple[str, int]:
    """So many complete trials must be there before another one can be pruned, and the option that says so."""
    if "n_startup_trials" in options:
        option = max(("n_startup_trials", "n_min_trials"), key=lambda key: options[key])
        if options[option] > 1:
            return option, options[option]
    return "name", 0 if name in ("threshold", "patient") else 1


def _reports_before(options: Mapping[str, Any]) -> tuple[str, float]:
    """A trial can be pruned after so many reports at the earliest, and the option that says so. Steps count from zero."""
    if "n_warmup_steps" in options:
        return "n_warmup_steps", options["n_warmup_steps"] + 1
    if "patience" in options:
        return "patience", options["patience"] + 2
    if "p_threshold" in options:
        # Of n differences that all point the same way, the signed-rank test's p is 2 ** -n, and no p is smaller.
        threshold = options["p_threshold"]
        significant = math.floor(-math.log2(threshold)) + 1 if threshold > 0 else math.inf
        by_option = {"p_threshold": significant, "n_startup_steps": max(2, options["n_startup_steps"])}
        option = max(by_option, key=lambda key: by_option[key])
        return option, by_option[option]
    if "min_resource" in options:
        first_rung = 1 if options["min_resource"] == "auto" else options["min_resource"]
        return "min_resource", first_rung * options["reduction_factor"] ** options.get("min_early_stopping_rate", 0) + 1
    return "name", 1


def _refuse(name: str, option: str, options: Mapping[str, Any], why: str) -> None:
    got = show(name if option == "name" else options[option])
    remedy = 'Write name = "none".' if option == "name" else f'Change {option}, or write name = "none".'
    raise rule_error(f"{name} can never prune: {why}", got=got, remedy=remedy, key=option)
