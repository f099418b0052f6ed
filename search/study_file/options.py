"""The options of a sampler or pruner, checked against its constructor's signature."""

import functools
import importlib.util
import inspect
import operator
from collections.abc import Iterable, Mapping, Set
from typing import Any

from pydantic import TypeAdapter, ValidationError

from search.study_file.limits import MAX_COUNT
from search.study_file.rule_errors import rule_error
from search.text import show, suggest

# What a sampler computes at each trial, or how much it holds, grows with these.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "n_startup_trials": (0, 1_000),
    "n_ei_candidates": (1, 1_000),
    "population_size": (2, 1_000),
    "popsize": (5, 1_000),  # of fewer, no half can be chosen
    "dividing_parameter": (1, 100),
    "mutation_prob": (0, 1),
    "crossover_prob": (0, 1),
    "swapping_prob": (0, 1),
    "min_resource": (1, MAX_COUNT),
    "max_resource": (1, MAX_COUNT),
    "reduction_factor": (2, 1_000),
    "min_early_stopping_rate": (0, 100),
    "bootstrap_count": (0, 1_000_000),
}
_OTHERS = (-MAX_COUNT, MAX_COUNT)  # a number that is none lies nowhere

_PLAIN: Mapping[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}


def check_options(factory: type, options: Mapping[str, Any], *, exclude: Iterable[str], also: Iterable[str] = ()) -> None:
    """Raises the broken rule for an option that `factory` does not take, misses, or takes in another type.

    Only what a study file can write counts as an option: a parameter whose annotation is made of int, float, bool, str and
    None. Callables, samplers and trials are for Python, and what is in `exclude` is not the user's to set. What the caller
    handles itself, in `also`, only takes part in suggestions.
    """
    check_known(factory, options, _writable(factory).keys() - set(exclude), also=also)
    for name, value in options.items():
        _check_bounds(name, value)


def check_known(
    factory: type, options: Mapping[str, Any], known: Set[str], *, also: Iterable[str] = (), takes_any: bool = False
) -> None:
    """Raises the broken rule for an option that is none of the `known` parameters, one of these that is missing, or its type.

    The type is looked at where it is one that a study file can write. With `takes_any` other options pass.
    """
    types = _writable(factory)
    for name, value in options.items():
        if name not in known and not takes_any:
            remedy = suggest(name, [*known, *also]) if known or also else "It takes none."
            raise rule_error("unknown option", got=show(value), remedy=remedy, key=name)
        if name in known & types.keys():
            _check_type(types[name], name, value)
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in known and parameter.default is parameter.empty and name not in options:
            raise rule_error("the option is required", got="nothing", remedy="Add it.", key=name)


def _check_type(wanted: Any, name: str, value: Any) -> None:
    try:
        TypeAdapter(wanted).validate_python(value, strict=True)
    except ValidationError:
        kind = getattr(wanted, "__name__", str(wanted))
        raise rule_error(f"must be of type {kind}", got=show(value), remedy="Change it.", key=name) from None


def check_package(name: str, package: str, key: str = "name") -> None:
    """Raises the broken rule where the package that `name` needs is not installed; the extra is called as what needs it."""
    if importlib.util.find_spec(package) is None:
        rule = f"{name} needs the package {package}, which is not installed"
        raise rule_error(rule, got=show(name), remedy=f"Run: pip install 'tumorcls[{name}]'", key=key)


def _check_bounds(name: str, value: Any) -> None:
    """Raises the broken rule for a number that Optuna would take, and hang, fill the memory or fail later."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = _BOUNDS.get(name, _OTHERS)
        if not low <= value <= high:
            raise rule_error(f"must lie in [{low}, {high}]", got=show(value), remedy="Change it.", key=name)


def _writable(factory: type) -> dict[str, Any]:
    """The parameters that a study file can write -> their types."""
    types: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        annotation = parameter.annotation
        written = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        words = [word for word in map(str.strip, written.split("|")) if word != "None"]
        if words and all(word in _PLAIN for word in words):
            types[name] = functools.reduce(operator.or_, (_PLAIN[word] for word in words))
    return types
