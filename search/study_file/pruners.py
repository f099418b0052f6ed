"""The name and options in `[pruner]` -> an Optuna pruner, or one of the user's own that is named by its ``target``."""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner

from search.seeds import Stream, derive
from search.study_file import own_class
from search.study_file.options import check_options
from search.study_file.pruner_reach import Reach, check_reach
from search.study_file.rule_errors import rule_error
from search.study_file.targets import is_own
from search.text import show, suggest

_KINDS: Mapping[str, type[BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "patient": optuna.pruners.PatientPruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}


def check(name: str, options: Mapping[str, Any], directions: int, reach: Reach) -> None:
    """Raises the broken rule where `make` could not work, or where the pruner could never prune a trial.

    A class of the user's own is imported; what it waits for is not known.
    """
    if name not in _KINDS and not is_own(name):
        raise rule_error("unknown pruner", got=show(name), remedy=suggest(name, _KINDS), key="name")
    if name != "none" and directions > 1:
        rule = "a study with several directions has no intermediate values, so that no pruner can ever prune"
        remedy, key = 'Write name = "none", or search in one direction.', "target" if is_own(name) else "name"
        raise rule_error(rule, got=show(name), remedy=remedy, key=key)
    if is_own(name):
        own_class.check_options(name, own_class.find_class(name, BasePruner), options)
        return
    own = {key: value for key, value in options.items() if not (name == "patient" and key == "wrapped")}
    check_options(_KINDS[name], own, exclude=("wrapped_pruner",), also=("wrapped",) if name == "patient" else ())
    if name == "none":
        return
    if name == "patient" and "wrapped" in options:
        inner_name, inner = _wrapped(options)
        check(inner_name, inner, directions, reach)
    try:
        make(name, options)
        if name == "hyperband":  # checks nothing itself, and makes these only when the first trial is complete
            shared = {key: value for key, value in own.items() if key != "max_resource"}
            optuna.pruners.SuccessiveHalvingPruner(**{"min_resource": 1, **shared})
    except (TypeError, ValueError, FutureWarning) as error:
        raise rule_error(f"{name} does not accept these options", got=str(error), remedy="Change them.") from None
    check_reach(name, _KINDS[name], own, reach)


def make(name: str, options: Mapping[str, Any], study_seed: int = 0) -> BasePruner:
    """Returns the pruner; one of the user's own that draws gets the study's seed.

    ``patient`` prunes once nothing has improved for `patience` steps; with ``wrapped = { name = "median", ... }`` it only then
    asks that other pruner.
    """
    if is_own(name):
        pruner: BasePruner = own_class.make(own_class.find_class(name, BasePruner), options, derive(study_seed, Stream.PRUNER))
        return pruner
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # chosen knowingly, by the study's author
        warnings.simplefilter("error", FutureWarning)  # a deprecated option: `check` turns it into one line
        if name != "patient":
            return _KINDS[name](**options)
        own = {key: value for key, value in options.items() if key != "wrapped"}
        inner = make(*_wrapped(options)) if "wrapped" in options else None
        return optuna.pruners.PatientPruner(inner, **own)


def _wrapped(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    wrapped = options["wrapped"]
    if not isinstance(wrapped, Mapping) or not isinstance(wrapped.get("name"), str):
        raise rule_error("must be a table with a name", got=show(wrapped), remedy='Write { name = "median" }.', key="wrapped")
    return wrapped["name"], {key: value for key, value in wrapped.items() if key != "name"}
