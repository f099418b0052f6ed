"""Syne Tune's BOHB: asynchronous successive halving, with kernel density estimators that draw configs. It resumes nothing.

It is no extra of this project. What this needs of it, without its XGBoost of 350 MB, changes no version:

    pip install --no-deps syne-tune dill pandas statsmodels patsy formulaic interface_meta

Syne Tune takes the best of all reported values, those of stopped trials included, so that each counts when it was reported.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from syne_tune import StoppingCriterion, Tuner, config_space
from syne_tune.backend import LocalBackend
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import BOHB
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.tuner_callback import TunerCallback

from benchmarks.search_quality import contenders
from benchmarks.search_quality.contenders import EPOCHS
from search.keras_tuner.tuner import params_of
from search.records.attributes import SHOWN_SEED
from search.study_file.load import StudySpec
from search.workers.protocol import Report, ReportReply, RunTrial
from search.workers.trial import WorkerTrial

STUDY = "SEARCH_QUALITY_STUDY"
"""The variable that names the study file for a trial of `tune`."""

GRACE_PERIOD = 2
"""The fewest epochs of a trial, as in the space of the others."""


def scheduler(spec: StudySpec) -> BOHB:
    space = {name: _domain(distribution) for name, distribution in spec.space.items() if name != "epochs"}
    return BOHB(
        space,
        metric="score",
        do_minimize=False,
        time_attr="epoch",
        max_t=EPOCHS,
        grace_period=GRACE_PERIOD,
        random_seed=spec.seed,
    )


def _domain(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return config_space.choice(list(distribution.choices))
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return config_space.loguniform(distribution.low, distribution.high)
    assert distribution.step is not None
    size = round((distribution.high - distribution.low) / distribution.step) + 1
    return config_space.finrange(distribution.low, distribution.high, size)


def search_same(spec: StudySpec, _folder: Path) -> None:
    """Asks and tells in this process, which runs the objective of all contenders."""
    objective, bohb, record = contenders.build(dict(spec.settings)), scheduler(spec), contenders.record
    while not record.is_over():
        trial = Trial(record.begun, bohb.suggest().config, datetime.now())
        record.begun += 1
        bohb.on_trial_add(trial)
        _run(objective, bohb, trial, params_of(trial.config, spec.space))


def _run(objective: Any, bohb: BOHB, trial: Trial, params: dict[str, Any]) -> None:
    result: dict[str, Any] = {}

    def ask(report: Report) -> ReportReply:
        result.update(score=report.value, epoch=report.step + 1)
        contenders.record.end(report.value, {**params, "epochs": report.step + 1}, trial.trial_id)
        return ReportReply(prune=bohb.on_trial_result(trial, result) == SchedulerDecision.STOP)

    run = RunTrial(trial.trial_id, {**params, "epochs": EPOCHS}, {SHOWN_SEED: trial.trial_id})
    try:
        objective(WorkerTrial(run, ask, lambda _message: None))
        bohb.on_trial_complete(trial, result)
    except optuna.TrialPruned:
        bohb.on_trial_remove(trial)


class _Recorder(TunerCallback):
    def __init__(self, spec: StudySpec) -> None:
        self._space = spec.space

    def on_trial_result(self, trial: Trial, status: str, result: dict[str, Any], decision: str) -> None:
        params = {**params_of(trial.config, self._space), "epochs": result["epoch"]}
        contenders.record.end(result["score"], params, trial.trial_id)


def tune(spec: StudySpec, folder: Path) -> None:
    """Its own stack: a `Tuner` with a `LocalBackend`, which starts a script for each trial and reads what it reports."""
    os.environ |= {"SYNETUNE_FOLDER": str(folder), STUDY: str(spec.path), "PYTHONPATH": os.pathsep.join(sys.path)}
    tuner = Tuner(
        # rotate_gpus=True leaves a file std.out where the benchmark was started
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_tune_trial.py")), rotate_gpus=False),
        scheduler=scheduler(spec),
        stop_criterion=StoppingCriterion(max_wallclock_time=spec.policy.timeout_s),
        n_workers=1,
        callbacks=[_Recorder(spec)],
    )
    contenders.record.begin()
    tuner.run()
    contenders.record.begun = tuner.tuning_status.num_trials_started
