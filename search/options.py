"""The options of a sampler or pruner, checked against its constructor's signature."""

import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from search.rules import broken, show, suggest

_PLAIN: Mapping[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}


def check_options(factory: type, options: Mapping[str, Any], *, exclude: Iterable[str], also: Iterable[str] = ()) -> None:
    """Raises the broken rule for an option that `factory` does not take, misses, or takes in another type.

    Only what a study file can write counts as an option: a parameter whose annotation is made of int, float, bool, str and
    None. Callables, samplers and trials are for Python.

    Args:
        factory: The Optuna class.
        options: What the study file says.
        exclude: Parameters that are not the user's to set.
        also: Options that the caller handles itself; they only take part in suggestions.
    """
    types = {name: kind for name, kind in _writable(factory).items() if name not in exclude}
    for name, value in options.items():
        if name not in types:
            remedy = suggest(name, [*types, *also]) if types or also else "It takes none."
            raise broken("unknown option", got=show(value), remedy=remedy, key=name)
        try:
            TypeAdapter(types[name]).validate_python(value, strict=True)
        except ValidationError:
            kind = getattr(types[name], "__name__", str(types[name]))
            raise broken(f"must be of type {kind}", got=show(value), remedy="Change it.", key=name) from None
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in types and parameter.default is parameter.empty and name not in options:
            raise broken("the option is required", got="nothing", remedy="Add it.", key=name)


def check_packages(name: str, packages: Iterable[str]) -> None:
    """Raises the broken rule where a package that `name` needs is not installed; the extra is called as what needs it."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise broken(
            f"{name} needs the package {missing[0]}, which is not installed",
            got=show(name),
            remedy=f"Run: pip install 'tumorcls[{name}]'",
            key="name",
        )


def _writable(factory: type) -> dict[str, Any]:
    """The parameters that a study file can write -> their types."""
    types: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        words = [word.strip() for word in str(parameter.annotation).split("|")]
        if isinstance(parameter.annotation, type):
            words = [parameter.annotation.__name__]
        plain = [word for word in words if word != "None"]
        if plain and all(word in _PLAIN for word in plain):
            union: Any = _PLAIN[plain[0]]
            for word in plain[1:]:
                union = union | _PLAIN[word]
            types[name] = union
    return types
