import dataclasses
import io
import os

import optuna
from rich.console import Console

from search.driver.ownership import Owner
from search.records.attributes import DRIVER_KEY, FAILURE_KEY, OWNER_KEY, RETRY_KEY
from search.results.status import print_status


def printed(study, **options):
    out = io.StringIO()
    print_status(study, console=Console(file=out, width=160), **{"budget": 30, "rows": 20, **options})
    return out.getvalue().splitlines()


def make(count):
    study = optuna.create_study(study_name="demo", direction="maximize")
    for number in range(count):
        trial = study.ask(fixed_distributions={"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, float(number))
    return study


def test_an_empty_study():
    assert printed(make(0)) == ["demo: 0/30 trials finished"]


def test_counts_best_and_table():
    study = make(2)
    failed = study.ask()
    failed.set_user_attr(FAILURE_KEY, "read [1] failed")
    study.tell(failed, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial({"x": 0.25}, user_attrs={RETRY_KEY: 2})
    lines = printed(study)
    assert lines[0] == "demo: 2/30 trials finished (2 complete · 1 fail · 1 waiting)"
    assert lines[1].startswith("Best trial 1: value 1 with x=")
    assert lines[2].split() == ["trial", "state", "value", "parameters", "duration", "note"]
    assert lines[3].split()[:3] == ["0", "complete", "0"]
    assert "read [1] failed" in lines[5]
    assert lines[6].split() == ["3", "waiting", "x=0.25", "retry", "of", "2"]


def test_whether_a_driver_is_at_work():
    study = make(1)
    study.ask()
    assert printed(study)[1].startswith("No driver is at work: what is still running was lost")
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(Owner.current()))
    assert printed(study)[1].startswith(f"A driver is at work: process {os.getpid()} on ")
    study.set_user_attr(DRIVER_KEY, None)
    for owner in (Owner.current(), Owner("elsewhere", 1, 1.0)):
        study.ask().set_user_attr(OWNER_KEY, owner.as_attr(0))
    assert printed(study)[1] == f"Trials run on {', '.join(sorted(['elsewhere', Owner.current().host]))}, as far as is known."


def test_the_last_trials_unless_all_are_asked_for():
    study = make(25)
    assert printed(study)[-1] == "The last 20 of 25 trials; --all shows every one."
    assert len(printed(study, rows=None)) == 2 + 1 + 25


def test_a_pareto_front():
    study = optuna.create_study(study_name="demo", directions=["minimize", "maximize"])
    for values in ((0, 1), (1, 2), (1, 0)):
        study.add_trial(optuna.trial.create_trial(values=values))
    lines = printed(study)
    assert lines[1:4] == [
        "Pareto front, 2 trials:",
        "  trial 0: value_0 0, value_1 1 with ",
        "  trial 1: value_0 1, value_1 2 with ",
    ]
