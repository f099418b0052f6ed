"""KerasTuner's `hp`, answered by an Optuna trial. Imports Keras."""

from collections.abc import Callable
from typing import Any

import keras_tuner
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial
from pydantic import TypeAdapter

from search.keras_tuner.space import Declared, Fixed, HyperParameter
from search.workers.trial import WorkerTrial, ask_for

_PARSER: TypeAdapter[Declared] = TypeAdapter(HyperParameter)

Trial = BaseTrial | WorkerTrial
"""A trial of plain Optuna, or of search."""


class TrialHyperParameters(keras_tuner.HyperParameters):
    """Declares as `keras_tuner.HyperParameters` does, scopes included; the values of what is active come from the trial.

    Under search, a trial refuses what is not in ``[space]``; in plain Optuna, it draws.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self._trial = trial
        self._settled = 0

    def Choice(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras_tuner.HyperParameters.Choice`."""
        return self._ask(super().Choice, args, kwargs)

    def Int(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras_tuner.HyperParameters.Int`."""
        return self._ask(super().Int, args, kwargs)

    def Float(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras_tuner.HyperParameters.Float`."""
        return self._ask(super().Float, args, kwargs)

    def Boolean(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras_tuner.HyperParameters.Boolean`."""
        return self._ask(super().Boolean, args, kwargs)

    def _ask(self, declare: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._settle()  # what was merged in since has KerasTuner's defaults
        known = declare(*args, **kwargs)
        return self._settle() if self._settled < len(self.space) else known

    def _settle(self) -> Any:
        """Takes the values of what was declared last from the trial; returns the last one, or None where it is not active."""
        value = None
        while self._settled < len(self.space):
            declared = self.space[self._settled]
            self._settled += 1
            value = None
            if self.is_active(declared):
                value = self.values[declared.name] = suggest(self._trial, parse(declared))
        return value


def parse(declared: Any) -> Declared:
    """Returns a hyperparameter of KerasTuner as data."""
    return _PARSER.validate_python({"class_name": type(declared).__name__, "config": declared.get_config()})


def suggest(trial: Trial, parameter: Declared) -> Any:
    """Returns the trial's value of a hyperparameter; a `Fixed` one is none of the trial's."""
    if isinstance(parameter, Fixed):
        return parameter.value
    name, distribution = parameter.name, parameter.distribution()
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    return trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def look_up(trial: Trial, name: str) -> Any:
    """Returns a parameter of a trial, or None where it has none of the name; of its other parameters it is not asked."""
    return ask_for(trial, name) if isinstance(trial, WorkerTrial) else trial.params.get(name)
