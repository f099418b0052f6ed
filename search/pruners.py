"""The name and options in `[pruner]` -> an Optuna pruner."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner

from search.options import check_options, check_packages
from search.rules import broken, show, suggest


@dataclass(frozen=True)
class _Kind:
    factory: type[BasePruner]
    packages: tuple[str, ...] = ()


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "none": _Kind(optuna.pruners.NopPruner),
        "median": _Kind(optuna.pruners.MedianPruner),
        "percentile": _Kind(optuna.pruners.PercentilePruner),
        "successive_halving": _Kind(optuna.pruners.SuccessiveHalvingPruner),
        "hyperband": _Kind(optuna.pruners.HyperbandPruner),
        "patient": _Kind(optuna.pruners.PatientPruner),
        "threshold": _Kind(optuna.pruners.ThresholdPruner),
        "wilcoxon": _Kind(optuna.pruners.WilcoxonPruner),
    }
)

# The startup option of Optuna's pruners: so many complete trials must be there before the first one can be pruned.
_STARTUP = "n_startup_trials"
_STARTUP_DEFAULTS: Mapping[str, int] = MappingProxyType({"median": 5, "percentile": 5, "wilcoxon": 1})


def check(name: str, options: Mapping[str, Any], directions: int, budget: int) -> None:
    """Raises the broken rule where `make` could not work, or where the pruner could never prune a trial."""
    if name not in _KINDS:
        raise broken("unknown pruner", got=show(name), remedy=suggest(name, _KINDS), key="name")
    if name == "none" and not options:
        return
    kind = _KINDS[name]
    own = {key: value for key, value in options.items() if not (name == "patient" and key == "wrapped")}
    check_options(kind.factory, own, exclude=("wrapped_pruner",), also=("wrapped",) if name == "patient" else ())
    check_packages(name, kind.packages)
    if directions > 1:
        raise broken(
            "a study with several directions has no intermediate values, so that no pruner can ever prune",
            got=show(name),
            remedy='Write name = "none", or search in one direction.',
            key="name",
        )
    startup = options.get(_STARTUP, _STARTUP_DEFAULTS.get(name, 0))
    if startup >= budget:
        raise broken(
            f"{name} can never prune: it waits for {_STARTUP} complete trials, which must be below study.trials = {budget}",
            got=show(startup),
            remedy=f'Lower {_STARTUP}, or write name = "none".',
            key=_STARTUP,
        )
    if name == "patient" and "wrapped" in options:
        inner_name, inner = _wrapped(options)
        check(inner_name, inner, directions, budget)
    try:
        make(name, options)
    except (TypeError, ValueError, FutureWarning) as error:
        raise broken(f"{name} does not accept these options", got=str(error), remedy="Change them.") from None


def make(name: str, options: Mapping[str, Any]) -> BasePruner:
    """Returns the pruner.

    ``patient`` prunes once nothing has improved for `patience` steps; with ``wrapped = { name = "median", ... }`` it only then
    asks that other pruner.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # chosen knowingly, by the study's author
        warnings.simplefilter("error", FutureWarning)  # a deprecated option: `check` turns it into one line
        if name != "patient":
            return _KINDS[name].factory(**options)
        own = {key: value for key, value in options.items() if key != "wrapped"}
        inner = make(*_wrapped(options)) if "wrapped" in options else None
        return optuna.pruners.PatientPruner(inner, **own)


def _wrapped(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    wrapped = options["wrapped"]
    if not isinstance(wrapped, Mapping) or not isinstance(wrapped.get("name"), str):
        raise broken("must be a table with a name", got=show(wrapped), remedy='Write { name = "median" }.', key="wrapped")
    return wrapped["name"], {key: value for key, value in wrapped.items() if key != "name"}
