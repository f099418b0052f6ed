"""A KerasTuner HyperModel, or a function that builds a model, as an objective. Imports Keras."""

import copy
import inspect
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import keras
import keras_tuner
import optuna

from search.errors import ObjectiveError
from search.keras_tuner.hyperparameters import Trial, TrialHyperParameters, look_up
from search.records.attributes import SHOWN_SEED
from search.study_file.targets import import_object
from search.text import show, suggest
from search.workers.protocol import ReportReply, RunTrial
from search.workers.trial import WorkerTrial

_GOALS: Mapping[str, Callable[[Sequence[float]], float]] = {"min": min, "max": max}


class HyperModelObjective:
    """Builds and fits a HyperModel with the trial's hyperparameters, and returns the best epoch, as KerasTuner does.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, its class, a function of `hp` that builds a model, or the ``module:attribute``
            of one of them.
        data: A function that returns the keyword arguments of `fit` as a mapping: what you would give to ``tuner.search``; or
            its ``module:attribute``. It is called once.
        monitor: The metric, such as ``val_accuracy``: of the training history, or of the dictionary that `fit` returns.
        mode: ``"min"`` or ``"max"``: which epoch is the best one. It must agree with the study's direction, and `search` sees
            to it.
        epochs: How many `fit` is told to train. A trial with a parameter of that name trains so many instead, be it that the
            HyperModel asks for it or not.
        fit: Further keyword arguments of `fit`.
        executions_per_trial: How often each trial trains; its value is the mean. Only the first execution can be pruned.

    Raises:
        ObjectiveError: An argument is not what it must be.
    """

    reports: Mapping[str, Sequence[str]] = MappingProxyType({"epoch": ("epochs",)})

    def __init__(
        self,
        *,
        hypermodel: Any,
        data: str | Callable[[], Mapping[str, Any]],
        monitor: str,
        mode: Literal["min", "max"],
        epochs: int | None = None,
        fit: Mapping[str, Any] | None = None,
        executions_per_trial: int = 1,
    ) -> None:
        if mode not in _GOALS:
            raise ObjectiveError(f'objective.mode: must be "min" or "max"; got {show(mode)}. Write one of them')
        for name, count in {"epochs": 1 if epochs is None else epochs, "executions_per_trial": executions_per_trial}.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ObjectiveError(f"objective.{name}: must be a whole number >= 1; got {show(count)}. Write one")
        self._hypermodel = as_hypermodel(hypermodel)
        self._arguments = {**(fit or {}), **load_data(data)}
        if epochs is not None and "epochs" in self._arguments:
            got = f"{epochs}, and {show(self._arguments['epochs'])} in fit or data"
            raise ObjectiveError(f"objective.epochs: must stand in one place; got {got}. Remove one")
        if epochs is not None:
            self._arguments["epochs"] = epochs
        self._monitor = monitor
        self._mode = mode
        self._executions = executions_per_trial
        self._asks_for_epochs = False  # as `fit` may do, where nobody sees it before

    @classmethod
    def directions(cls, settings: Mapping[str, Any]) -> list[str]:
        """Returns the one that a study must have."""
        return ["minimize" if settings.get("mode") == "min" else "maximize"]

    def __call__(self, trial: Trial) -> float:
        """Trains, and returns the value of the best epoch, or what `fit` says it is.

        Raises:
            optuna.TrialPruned: The pruner gave this trial up.
            ObjectiveError: `fit` returned no value.
        """
        values = [self._run(trial, execution) for execution in range(self._executions)]
        return math.fsum(values) / len(values)

    def best_model(self, params: Mapping[str, Any], seed: int) -> keras.Model:
        """Trains the model of a trial again, and returns it with the weights of its best epoch, as `get_best_models` does.

        The trial's seed is what an export has, in a study of plain Optuna its number; of several executions it is the first's.

        Raises:
            ObjectiveError: `fit` tells its callbacks of no epoch with a value.
        """
        trial = WorkerTrial(RunTrial(0, params, {SHOWN_SEED: seed}), lambda _: ReportReply(), lambda _: None)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder, "best.weights.h5")
            options = {"save_best_only": True, "save_weights_only": True, "mode": self._mode}
            keep = keras.callbacks.ModelCheckpoint(str(weights), self._monitor, **options)
            self._run(trial, 0, keep)
            if not weights.exists():
                rule = "must be in the logs of an epoch that fit tells its callbacks"
                raise ObjectiveError(f"objective.monitor: {rule}; got none with {self._monitor}")
            keep.model.load_weights(weights)
        return keep.model

    def _run(self, trial: Trial, execution: int, *more: keras.callbacks.Callback) -> float:
        keras.utils.clear_session()
        keras.utils.set_random_seed((trial.user_attrs.get(SHOWN_SEED, trial.number) + execution) % 2**32)
        hp = TrialHyperParameters(trial)
        self._hypermodel.declare_hyperparameters(hp)
        model = self._hypermodel.build(hp)
        # Callbacks have a state, and all trials are given the same.
        callbacks = copy.deepcopy(list(self._arguments.get("callbacks") or []))
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.TensorBoard) and not more:  # the best model's is in no trial's folder
                callback.log_dir = str(Path(callback.log_dir, f"trial-{trial.number:04d}", f"execution{execution}"))
        if execution == 0:
            callbacks.append(_Report(trial, self._monitor))
        arguments = {**self._arguments, "callbacks": [*callbacks, *more]}
        epochs = look_up(trial, "epochs") if "epochs" not in hp.values and self._takes_epochs() else None
        if epochs is not None:
            arguments["epochs"] = epochs
        try:
            return self._value(self._hypermodel.fit(hp, model, **arguments))
        except TypeError:
            if epochs is None or "epochs" not in hp.values:
                raise
            self._asks_for_epochs = True  # which did not show before, and Keras was given two
        return self._run(trial, execution, *more)

    def _takes_epochs(self) -> bool:
        if self._asks_for_epochs:
            return False
        parameters = inspect.signature(self._hypermodel.fit).parameters.values()
        return any(parameter.name == "epochs" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)

    def _value(self, result: Any) -> float:
        """What `keras_tuner.engine.tuner_utils.convert_to_metrics_dict` takes for the value of each kind of result."""
        if isinstance(result, list) and result:
            return math.fsum(map(self._value, result)) / len(result)
        metrics = result.history if isinstance(result, keras.callbacks.History) else result
        if isinstance(metrics, Mapping):
            if self._monitor not in metrics:
                remedy = suggest(self._monitor, metrics)
                raise ObjectiveError(f"objective.monitor: fit must return it; got {show(self._monitor)}. {remedy}")
            if metrics is result:
                return float(result[self._monitor])
            epochs = [float(value) for value in metrics[self._monitor]]
            return _GOALS[self._mode]([value for value in epochs if not math.isnan(value)] or epochs)
        try:
            return float(result)
        except (TypeError, ValueError):
            kind = type(result).__name__
            raise ObjectiveError(f"fit must return a History, a dictionary, a number or a list of these; got {kind}") from None


class _Report(keras.callbacks.Callback):
    """Tells the trial each epoch's value, and ends a pruned one, but not one that has ended."""

    def __init__(self, trial: Trial, monitor: str) -> None:
        super().__init__()
        self._trial = trial
        self._monitor = monitor

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not logs or self._monitor not in logs:  # a `fit` of one's own may find the value later
            return
        self._trial.report(float(logs[self._monitor]), epoch)
        last = (self.params or {}).get("epochs")
        ended = getattr(self.model, "stop_training", False) or (last is not None and epoch + 1 >= last)
        if not ended and self._trial.should_prune():
            raise optuna.TrialPruned


def as_hypermodel(given: Any, key: str = "objective.hypermodel") -> keras_tuner.HyperModel:
    """Returns what is given, or what ``module:attribute`` names, as a HyperModel; `key` is where the user wrote it.

    Raises:
        ObjectiveError: It is none, and no function either.
    """
    result = import_object(given, key) if isinstance(given, str) else given
    if inspect.isclass(result) and issubclass(result, keras_tuner.HyperModel):
        try:
            inspect.signature(result).bind()
        except TypeError as error:
            needed = f"a class must be made without arguments; got {result.__name__}, {error}"
            raise ObjectiveError(f"{key}: {needed}. Name an instance, or a function of hp") from None
        result = result()
    if isinstance(result, keras_tuner.HyperModel):
        return result
    if inspect.isclass(result) or not callable(result):
        kind = result.__name__ if inspect.isclass(result) else type(result).__name__
        raise ObjectiveError(f"{key}: must be a HyperModel or a function of hp; got {kind}")
    hypermodel = keras_tuner.HyperModel()
    hypermodel.build = result
    return hypermodel


def load_data(data: str | Callable[[], Mapping[str, Any]], key: str = "objective.data") -> Mapping[str, Any]:
    """Returns the keyword arguments of `fit`; `key` is where the user wrote what returns them.

    Raises:
        ObjectiveError: `data` names nothing, or what it returns is no mapping.
    """
    loaded = (import_object(data, key) if isinstance(data, str) else data)()
    if not isinstance(loaded, Mapping):
        kind = type(loaded).__name__
        raise ObjectiveError(f'{key}: must return the keyword arguments of fit, {{"x": ..., "y": ...}}; got {kind}')
    return loaded
