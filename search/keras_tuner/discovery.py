"""Finds the space of a HyperModel, which nothing declares: builds it with many values to see what it asks for. Needs Keras."""

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import keras_tuner
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import ProjectError, SearchError
from search.keras_tuner.hypermodel import as_hypermodel, load_data
from search.keras_tuner.hyperparameters import parse
from search.keras_tuner.space import Declared, Fixed, conditions_of
from search.study_file.conditions import Condition
from search.text import show
from search.workers.process import describe

_MAX_BUILDS = 500


@dataclass
class Discovered:
    """What was seen.

    Attributes:
        space: The distributions by parameter, in the order in which they were asked for.
        conditions: When a trial has a parameter of a conditional scope, where a study file can say so.
        fixed: The hyperparameters that are fixed.
        builds: How often the model was built.
        broken: The values with which it could not be built, and why.
    """

    space: dict[str, BaseDistribution] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    builds: int = 0
    broken: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)


def discover(hypermodel: Any, data: str | Callable[[], Mapping[str, Any]] | None = None) -> Discovered:
    """Builds a model with the defaults, and again with each choice and each end of a range, until it asks for nothing new.

    KerasTuner itself only finds what conditional scopes hold before it searches, and the rest as trials happen on it. Both
    arguments are as `HyperModelObjective` takes them; `fit` is stopped before its first step, and without data not looked at.

    Raises:
        ObjectiveError: An argument is not what it must be.
        ProjectError: It, or the data, cannot be loaded; it cannot be built with its defaults, has one name for two ranges, or
            asks for ever more.
    """
    model = _loaded(as_hypermodel, hypermodel, "MODULE:HYPERMODEL")
    arguments = None if data is None else _loaded(load_data, data, "--data")
    discovered = Discovered()
    waiting: deque[dict[str, Any]] = deque([{}])
    scopes: list[dict[str, Any]] = []
    declared: list[Declared] = []
    while waiting:
        values = waiting.popleft()
        if discovered.builds == _MAX_BUILDS:
            raise ProjectError(f"{hypermodel}: {_MAX_BUILDS} builds must be enough to see its space; got more to try.")
        discovered.builds += 1
        try:
            hp = _run(model, arguments, values)
        except Exception as error:  # KerasTuner counts it as a failed trial, and so would we
            reason = describe(error, always_type=True).rstrip(".")
            if not values:
                raise ProjectError(f"{hypermodel}: must build with its defaults; got: {reason}.") from None
            discovered.broken.append((values, reason))
            continue
        for parameter in map(parse, hp.space):
            declared.append(parameter)
            scope = {parent.name: parent.values[0] for parent in parameter.conditions}
            if not parameter.active(hp.values):
                if scope not in scopes:
                    scopes.append(scope)
                    waiting.append({**values, **scope})
            elif _add(discovered, parameter, str(hypermodel)):
                waiting += [{**values, parameter.name: end} for end in _ends(discovered.space[parameter.name])]
    discovered.conditions = conditions_of(declared, discovered.space)
    return discovered


def _loaded(load: Callable[[Any, str], Any], given: Any, argument: str) -> Any:
    try:
        return load(given, argument)
    except SearchError:
        raise
    except Exception as error:  # its author's code
        raise ProjectError(f"{given}: must load; got: {describe(error, always_type=True).rstrip('.')}.") from None


def _run(
    model: keras_tuner.HyperModel, arguments: Mapping[str, Any] | None, values: Mapping[str, Any]
) -> keras_tuner.HyperParameters:
    keras.utils.clear_session(free_memory=False)  # collecting garbage takes longer than building
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    model.declare_hyperparameters(hp)
    built = model.build(hp)
    if arguments is not None:
        with contextlib.suppress(_Stopped):
            model.fit(hp, built, **{**arguments, "callbacks": [_Stop()]})
    return hp


def _add(discovered: Discovered, parameter: Declared, where: str) -> bool:
    """Adds what was asked for; returns whether its values are still to be tried."""
    if isinstance(parameter, Fixed):
        discovered.fixed[parameter.name] = parameter.value
        return False
    distribution = parameter.distribution()
    known = discovered.space.setdefault(parameter.name, distribution)
    if known != distribution:
        got = " and ".join(show(_ends(each)) for each in (known, distribution))
        rule = f"{parameter.name} must mean the same wherever it is asked for"
        raise ProjectError(f"{where}: {rule}; got {got}. Use two names, or hp.name_scope.")
    return known is distribution and not distribution.single()


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    """The choices, or the ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high


class _Stopped(BaseException):
    """Training would begin now. No `Exception`, so that no `fit` catches it."""


class _Stop(keras.callbacks.Callback):
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        raise _Stopped

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        raise _Stopped  # a loop of one's own may call no other
