from dataclasses import replace

import optuna
import pytest

from search.driver.driver import Driver
from search.driver.ownership import Owner
from search.driver.progress import Progress
from search.driver.views import make_view
from search.study_file import pruners
from search.study_file.load import load
from search.workers.inline import InlineExecutor
from search.workers.pool import WorkerPool
from search.workers.process import WorkerSetup


@pytest.fixture
def drive(write):
    """Drives a study file's study in this process, and returns it: workers in threads, unless an executor is given."""

    def run(resumed=None, /, *, workers=1, trials=None, timeout_s=None, executor=None, console=None, **tables):
        spec = load(write(**tables))
        study = resumed or optuna.create_study(directions=list(spec.directions))
        study.pruner = pruners.make(spec.pruner.name, spec.pruner.options)
        executor = executor or InlineExecutor(lambda worker: WorkerSetup(spec.target, spec.settings))
        policy = replace(spec.policy, trials=trials or spec.policy.trials, timeout_s=timeout_s or spec.policy.timeout_s)
        view = make_view(Progress.of(study, policy.trials), console, quiet=console is None)
        driver = Driver(study, replace(spec, policy=policy), WorkerPool(executor, workers, policy), Owner.current(), view)
        study.set_user_attr("reason", None)
        study.set_user_attr("reason", driver.run())
        return study

    return run
