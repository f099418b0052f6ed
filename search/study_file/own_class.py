"""A sampler or pruner of the user's own, ``target = "package.module:Class"``: found, checked, and made with its options.

Any class that derives from Optuna's base will do: one of Optuna's that has no name here, of OptunaHub, or of a module in the
current folder. It is imported by whoever runs trials, never by a command that only looks.
"""

import functools
import inspect
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
from optuna.exceptions import OptunaError
from optuna.samplers import BaseSampler
from sqlalchemy.exc import SQLAlchemyError

from search.errors import ObjectiveError, SearchError, StudyFileError
from search.study_file.optimizers import safe
from search.study_file.options import check_known
from search.study_file.rule_errors import rule_error
from search.study_file.targets import find_beside, import_object
from search.text import one_line, show

T = TypeVar("T")

_SEED = "seed"
_OF_ONE_SEED = {optuna.samplers.GridSampler: "grid", optuna.samplers.QMCSampler: "qmc"}
"""Samplers whose points are those of one seed, and what does the same by name."""

_CALLED = ("before_trial", "infer_relative_search_space", "sample_relative", "sample_independent", "after_trial", "prune")
"""What Optuna calls of samplers and pruners."""


def find_class(target: str, base: type) -> Any:
    """Imports a class that derives from an abstract `base`.

    Raises:
        PydanticCustomError: There is no such class, or what its module runs fails.
    """
    find_beside()
    rule = f"must be a class that can be imported and derives from optuna's {base.__name__}"
    try:
        found = import_object(target, "it")
    except ObjectiveError as error:
        why, _, remedy = str(error).partition(". ")
        raise rule_error(rule, got=f"{show(target)}: {why}", remedy=remedy or "Correct it.", key="target") from None
    except Exception as error:  # whatever a module of the user's own raises
        raise rule_error(rule, got=describe_failure(error), remedy="Mend the module.", key="target") from None
    if not (inspect.isclass(found) and issubclass(found, base)):
        is_what = "a class that does not" if inspect.isclass(found) else f"which is of type {type(found).__name__}"
        raise rule_error(rule, got=f"{show(target)}, {is_what}", remedy="Name another one.", key="target")
    for of_one_seed, name in _OF_ONE_SEED.items():
        if issubclass(found, of_one_seed):
            why = f"Optuna's {name} would number its points by each one's seed"
            rule = f"must be a class that can be made anew for each trial; {why}"
            raise rule_error(rule, got=show(target), remedy=f'Write name = "{name}" instead.', key="target")
    return safe(found)


def looks_past(target: str) -> bool:
    """Returns whether a sampler reads the trials in the storage, whatever it is shown of them."""
    return issubclass(find_class(target, BaseSampler), optuna.samplers.BruteForceSampler)


def check_options(target: str, factory: type, options: Mapping[str, Any]) -> None:
    """Raises the broken rule for an option that the class does not take, misses, or takes in another type.

    A parameter without an annotation, or with one that TOML cannot tell, takes what is written. Where all is well, an instance
    is made, to see whether the class accepts what the options say.
    """
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if _SEED in named & options.keys():
        got, remedy = show(options[_SEED]), "Remove it, and set study.seed."
        raise rule_error("comes from study.seed", got=got, remedy=remedy, key=_SEED)
    check_known(factory, options, named - {_SEED}, takes_any=takes_any)
    try:
        make(factory, options, seed=0)
    except Exception as error:  # whatever a class of the user's own raises
        rule = f"{target} does not accept these options"
        raise rule_error(rule, got=describe_failure(error), remedy="Change them.") from None


def make(factory: type[T], options: Mapping[str, Any], seed: int) -> T:
    """Returns an instance, with the seed where its signature has one. What the class raises is passed on."""
    seeded = {_SEED: seed} if _SEED in inspect.signature(factory).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # chosen knowingly, and not ours to judge
        return factory(**options, **seeded)


def guard(instance: T, where: str) -> T:
    """Has what a sampler or a pruner raises when Optuna calls it end the launch in one line, which begins with `where`.

    Errors of Optuna and of a storage pass.
    """
    for name in _CALLED:
        if hasattr(instance, name):
            setattr(instance, name, _guarded(getattr(instance, name), where))
    return instance


def _guarded(method: Callable[..., Any], where: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (SearchError, OptunaError, SQLAlchemyError):
            raise
        except Exception as error:  # whatever a class of the user's own raises
            rule = f"{method.__name__} must not fail"
            remedy = "Mend it, and launch again: what has run is kept."
            raise StudyFileError(f"{where}: {rule}; got {describe_failure(error)}. {remedy}") from error

    return call


def describe_failure(error: Exception) -> str:
    """Returns what code of the user's own raised, and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {one_line(error)}{where}"
