from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from search.driver.driver import Driver
from search.driver.ownership import Owner
from search.driver.progress import Progress
from search.driver.views import make_view
from search.study_file import pruners
from search.study_file.load import load
from search.workers.pool import WorkerPool
from search.workers.process import WorkerSetup
from tests.inline import InlineExecutor
from tests.search.servers import study, url  # noqa: F401  fixtures


@pytest.fixture
def drive(write):
    """Drives a study file's study in this process, and returns it: workers in threads, unless an executor is given."""

    def run(resumed=None, /, *, workers=1, trials=None, timeout_s=None, executor=None, console=None, options=None, **tables):
        spec = load(write(**tables))
        made = resumed or optuna.create_study(directions=list(spec.directions))
        made.pruner = pruners.make(spec.pruner.name, spec.pruner.options)
        fidelity = spec.fidelity.name if spec.fidelity is not None else None
        executor = executor or InlineExecutor(lambda worker: WorkerSetup(spec.target, spec.settings, fidelity=fidelity))
        policy = replace(spec.policy, trials=trials or spec.policy.trials, timeout_s=timeout_s or spec.policy.timeout_s)
        view = make_view(Progress.of(made, policy.trials), console, quiet=console is None)
        pool = WorkerPool(executor, workers, policy)
        options = {"checkpoints": Path("kept").resolve(), **(options or {})}
        driver = Driver(made, replace(spec, policy=policy), pool, Owner.current(), view, **options)
        made.set_user_attr("reason", None)
        made.set_user_attr("reason", driver.run())
        return made

    return run
