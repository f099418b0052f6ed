"""A study's objective under a KerasTuner tuner: its space as `hp`, its trials run by the tuner's oracle. Imports Keras."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import StudyError
from search.records.attributes import SHOWN_SEED
from search.seeds import Stream, derive
from search.study_file.distributions import describe_space
from search.study_file.env import expand
from search.study_file.load import StudySpec
from search.study_file.targets import import_object
from search.text import show, suggest
from search.workers.hooks import take_misfits
from search.workers.process import as_values, build_objective
from search.workers.protocol import Report, ReportReply, RunTrial
from search.workers.trial import WorkerTrial

_GOALS = {"minimize": "min", "maximize": "max"}


def hyper_parameters(space: Mapping[str, BaseDistribution]) -> keras_tuner.HyperParameters:
    """Returns a space as KerasTuner declares it.

    Raises:
        StudyError: A categorical parameter mixes text with numbers, which a `Choice` does not take.
    """
    hp = keras_tuner.HyperParameters()
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            _declare_choice(hp, name, list(distribution.choices))
        elif isinstance(distribution, IntDistribution):
            step, sampling = (None, "log") if distribution.log else (distribution.step, "linear")
            hp.Int(name, distribution.low, distribution.high, step=step, sampling=sampling)
        elif isinstance(distribution, FloatDistribution):
            # KerasTuner divides in floats, where ten steps of 0.1 fall short of 1.
            high = distribution.high + (distribution.step or 0.0) / 2
            sampling = "log" if distribution.log else "linear"
            hp.Float(name, distribution.low, high, step=distribution.step, sampling=sampling)
    return hp


def params_of(values: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Returns the values that an oracle chose as the parameters of a trial; what is not in the space is left out."""
    return {name: _param(values[name], distribution) for name, distribution in space.items() if name in values}


class ObjectiveTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs an objective where KerasTuner would build and fit a model.

    Nothing prunes: what an oracle gives up, it gives up between trials. Hyperband goes on with a trial by running it again, for
    more epochs and with the same seed, from its beginning, where KerasTuner's own tuner loads weights.

    Args:
        oracle: The oracle, which knows the space, and the objective as a single metric.
        objective: Called with each trial.
        space: The space that the oracle was given, as `hyper_parameters` declares it.
        epochs: The parameter that takes Hyperband's number of epochs.
        seed: Fixes each trial's own seed.
        on_report: Is told of each report: KerasTuner's id of the trial, value and step.
        options: Of `keras_tuner.engine.base_tuner.BaseTuner`: ``directory``, ``project_name``, ``overwrite``.

    Raises:
        StudyError: The oracle's space is another one: that of the project which it goes on with.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        objective: Callable[[WorkerTrial], Any],
        space: Mapping[str, BaseDistribution],
        *,
        epochs: str | None = None,
        seed: int = 0,
        on_report: Callable[[str, float, int], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(oracle, **options)
        there, here = (_declared(hp) for hp in (oracle.get_space(), hyper_parameters(space)))
        if there != here:
            names = ", ".join(name for name in {**there, **here} if there.get(name) != here.get(name))
            rule, remedy = "must be a project of the same space", "Name another folder, or begin anew with overwrite=True."
            raise StudyError(f"{self.project_dir}: {rule}; got one that differs in {names}. {remedy}")
        self._objective = objective
        self._space = space
        self._epochs = epochs
        self._seed = seed
        self._on_report = on_report

    def run_trial(self, trial: Any, verbose: Any = None) -> dict[str, float]:
        """Returns the objective's value under the name of the oracle's metric; `search` heeds `verbose` and passes it on.

        Raises:
            keras_tuner.errors.FailedTrialError: The objective gave the trial up.
        """
        values = trial.hyperparameters.values
        params = params_of(values, self._space)
        values |= params  # so that the score is that of what ran
        if self._epochs is not None and "tuner/epochs" in values:
            params[self._epochs] = values["tuner/epochs"]
        number = self.oracle.start_order.index(trial.trial_id)
        seed = derive(self._seed, Stream.TRIAL, self.oracle.start_order.index(self._first(trial).trial_id))

        def ask(report: Report) -> ReportReply:
            if self._on_report is not None:
                self._on_report(trial.trial_id, report.value, report.step)
            return ReportReply()

        task = RunTrial(number, params, {SHOWN_SEED: seed})
        try:
            result = self._objective(WorkerTrial(task, ask, tell=lambda _: None))  # KerasTuner keeps no attributes or artifacts
        except optuna.TrialPruned as error:
            raise keras_tuner.errors.FailedTrialError("The objective gave the trial up.") from error
        return {self.oracle.objective.name: as_values(result, 1)[0]}

    def _first(self, trial: Any) -> Any:
        """The trial that this one goes on with, and so on to the first."""
        while "tuner/trial_id" in trial.hyperparameters.values:
            trial = self.oracle.trials[trial.hyperparameters.values["tuner/trial_id"]]
        return trial


def study_tuner(
    spec: StudySpec,
    oracle: Callable[..., keras_tuner.Oracle],
    folder: Path,
    *,
    epochs: str | None = None,
    on_report: Callable[[str, float, int], None] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> ObjectiveTuner:
    """Returns a tuner for a study file's objective, space, direction and seed.

    The oracle's class, such as `keras_tuner.oracles.BayesianOptimizationOracle`, gets the options, such as ``max_trials``.
    `epochs` and `on_report` are those of `ObjectiveTuner`; the parameter `epochs` leaves the space, which must have it. A
    project in the folder is gone on with, if its space is the same, unless `overwrite` has it begun anew.

    Raises:
        SearchError: The file has several directions, asks for what KerasTuner or the objective does not have, or has no
            parameter `epochs`; or the project was begun with another space.
    """
    if len(spec.directions) != 1:
        raise StudyError(f"{spec.path}: KerasTuner has one value; got {show(list(spec.directions))}. Choose one of them.")
    for name, condition in spec.conditions.items():
        raise StudyError(
            f"{spec.path}: space.{name}.when: study_tuner declares no conditional scopes; got {condition}. Remove it."
        )
    if epochs is not None and epochs not in spec.space:
        raise StudyError(f"{spec.path}: epochs: must be in [space]; got {show(epochs)}. {suggest(epochs, spec.space)}")
    space = {name: distribution for name, distribution in spec.space.items() if name != epochs}
    metric = spec.metrics[0] if spec.metrics else "value"
    made = oracle(
        objective=keras_tuner.Objective(metric, _GOALS[spec.directions[0]]),
        hyperparameters=hyper_parameters(space),
        seed=spec.seed + 1,  # it takes 0 for none
        **options,
    )
    settings = expand(spec.settings, os.environ, f"{spec.path}: objective")
    kind, described = import_object(spec.target, "study.objective"), describe_space(spec.space, {})
    if misfits := take_misfits(kind, described, spec.enqueue, settings, spec.directions):
        raise StudyError("; ".join(f"{spec.path}: {line}" for line in misfits))
    objective = build_objective(spec.target, settings)
    where = {"directory": str(folder.parent), "project_name": folder.name, "overwrite": overwrite}
    return ObjectiveTuner(made, objective, space, epochs=epochs, seed=spec.seed, on_report=on_report, **where)


def _declared(hp: keras_tuner.HyperParameters) -> dict[str, tuple[str, Any]]:
    return {parameter.name: (type(parameter).__name__, parameter.get_config()) for parameter in hp.space}


def _declare_choice(hp: keras_tuner.HyperParameters, name: str, choices: list[Any]) -> None:
    kinds = {type(choice) for choice in choices}
    if set(choices) == {False, True} and kinds == {bool}:
        hp.Boolean(name, default=choices[0])
    elif len(kinds) == 1:
        hp.Choice(name, choices, ordered=False)
    elif kinds == {int, float}:
        hp.Choice(name, [float(choice) for choice in choices], ordered=False)
    else:
        raise StudyError(f"space.{name}: KerasTuner's choices are of one type; got {show(choices)}. Write all as text.")


def _param(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[distribution.choices.index(value)]  # as the study file has it: 1, not 1.0
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    # Steps add up to a little more in floats, and an optimizer that ends at a bound gives an int with `log` one more.
    inside = min(max(value, distribution.low), distribution.high)
    return int(inside) if isinstance(distribution, IntDistribution) else float(inside)
