import datetime
import json
import re

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.records.attributes import FAILURE_KEY, OWNER_KEY, TRACEBACK_KEY, WORKER_KEY
from search.records.rungs import RUNGS_KEY

START = datetime.datetime(2026, 1, 1, 8)
SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "epochs": IntDistribution(2, 4),
    "kind": CategoricalDistribution(["a", "b"]),
}


def charts(section):
    """Yields the traces and the layout of each chart of a page, or a part of one."""
    decode = json.JSONDecoder().raw_decode
    for start in re.finditer(r"Plotly\.newPlot\(\s*\"[^\"]+\",\s*", section):
        traces, end = decode(section, start.end())
        yield traces, decode(section, section.index("{", end))[0]


def by(worker):
    """User attributes of a trial that this worker ran."""
    return {OWNER_KEY: {WORKER_KEY: worker}}


@pytest.fixture(scope="session")
def add():
    """Adds a trial to a study: its state, value, reports and times are what the test says."""

    def add_trial(
        study, value=None, state="COMPLETE", *, params=None, reports=(), start=0.0, seconds=10.0, space=None, **extra
    ):
        space = SPACE if space is None else space
        given = {"rate": 0.1, "epochs": 2, "kind": "a"} if params is None else params
        values = None if value is None else list(value) if isinstance(value, tuple) else [value]
        trial = create_trial(
            state=TrialState[state],
            values=values,
            params=given,
            distributions={name: space[name] for name in given},
            intermediate_values=dict(enumerate(reports)),
            user_attrs=extra.get("user_attrs"),
            system_attrs=extra.get("system_attrs"),
        )
        if state != "WAITING" or RUNGS_KEY in (extra.get("system_attrs") or {}):
            trial.datetime_start = START + datetime.timedelta(seconds=start)
        if trial.state.is_finished():
            trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=seconds)
        study.add_trial(trial)

    return add_trial


@pytest.fixture
def study():
    """An empty study of plain Optuna."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(study_name="own", direction="maximize")


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """The SQLite file of `varied`."""
    return tmp_path_factory.mktemp("varied") / "varied.db"


@pytest.fixture(scope="session")
def varied(database, add):
    """A study with all that a report tells of: two workers, pruned, failed and running trials, an enqueued baseline."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{database}", study_name="varied", direction="maximize")
    rates = (0.1, 0.001, 0.01, 0.02, 0.05, 0.2)
    for at, (rate, epochs, kind) in enumerate(zip(rates, (2, 4, 3, 2, 4, 3), "ababab", strict=True)):
        params = {"rate": rate, "epochs": epochs, "kind": kind}
        value = 0.5 + rate - 0.01 * epochs
        attrs = by(at % 2)
        system_attrs = {"fixed_params": params} if at == 0 else None
        reports = [value - 0.1 * (epochs - step) for step in range(epochs)]
        times = {"start": 20.0 * (at // 2), "seconds": 4.0 * epochs}
        add(study, value, params=params, reports=reports, user_attrs=attrs, system_attrs=system_attrs, **times)
    params = {"rate": 0.3, "epochs": 4, "kind": "b"}
    add(study, 0.2, "PRUNED", params=params, reports=[0.1], start=60, seconds=4, user_attrs=by(0))
    add(study, 0.3, "PRUNED", params={**params, "epochs": 3}, reports=[0.1, 0.3], start=60, seconds=9, user_attrs=by(1))
    for number in (8, 9):
        attrs = {**by(number % 2), FAILURE_KEY: "<b>no memory</b>", TRACEBACK_KEY: f"File 'x', line {number}"}
        add(study, state="FAIL", params=params, start=70, seconds=1, user_attrs=attrs)
    add(study, state="FAIL", params=params, start=72, seconds=1, user_attrs=by(0))
    add(study, state="RUNNING", params=params, reports=[0.4], start=74, user_attrs=by(0))
    return study
