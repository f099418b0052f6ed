import csv
import dataclasses
import datetime
import io
import json
import math
import os

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.driver.ownership import Owner
from search.records.attributes import BUDGET_KEY, DRIVER_KEY, FAILURE_KEY, FILE_KEY, OWNER_KEY, RETRY_KEY
from search.records.reports import save_reports
from search.records.rungs import RUNGS_KEY
from search.records.states import DRIVER_DIED, INTERRUPTED
from search.results import status
from search.results.status import budget_in, print_status, watch_status
from search.results.trial_rows import as_csv, as_json
from search.study_file.load import load
from search.text import plain


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


def test_the_budget_is_that_of_the_launch_and_else_of_the_studys_own_file(write):
    study, spec = make(0), load(write(study={"trials": "7"}))
    other = optuna.create_study(study_name="demo-finalists")
    assert [budget_in(*pair) for pair in ((study, spec), (other, spec), (study, None))] == [7, None, None]
    study.set_user_attr(BUDGET_KEY, 9)
    assert budget_in(study, spec) == 9


def test_counts_best_and_table():
    study = make(2)
    failed = study.ask()
    failed.set_user_attr(FAILURE_KEY, "read [1] failed")
    study.tell(failed, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial({"x": 0.25}, user_attrs={RETRY_KEY: 2})
    lines = printed(study)
    assert lines[0] == "demo: 2/30 trials finished (2 complete · 1 fail · 1 waiting)"
    assert lines[1].split() == ["trial", "state", "value", "parameters", "duration", "note"]
    assert lines[2].split()[:3] == ["0", "complete", "0"]
    assert "read [1] failed" in lines[4]
    assert lines[5].split() == ["3", "waiting", "x=0.25", "retry", "of", "2"]
    assert lines[-1].startswith("Best trial 1: value 1 with x="), "a long table would scroll it away"


def test_a_value_at_which_a_trial_was_pruned_stands_in_brackets():
    """It is that of an early epoch. CSV has it as it is, beside the state."""
    study = make(2)
    assert not any(line.startswith("In brackets") for line in printed(study))
    for reports in ((0.25,), ()):
        trial = study.ask()
        for step, value in enumerate(reports):
            trial.report(value, step)
        study.tell(trial, state=TrialState.PRUNED)
    lines = printed(study)
    assert [line.split()[1:3] for line in lines[3:6]] == [["complete", "1"], ["pruned", "(0.25)"], ["pruned", "00:00"]]
    assert lines[6] == "In brackets: the value at which a trial was pruned, which is not one of a whole trial."
    assert [row["value"] for row in csv.DictReader(io.StringIO(as_csv(study, study.trials)))] == ["0.0", "1.0", "0.25", ""]


def test_whether_a_driver_is_at_work():
    study = make(1)
    trial = study.ask()
    assert printed(study)[1] == "1 trial runs that no driver of search began."
    dead = dataclasses.replace(Owner.current(), started=1.0)
    study._storage.set_trial_system_attr(trial._trial_id, OWNER_KEY, dead.as_attr(0))
    study.ask()
    study.ask()
    assert printed(study)[1].startswith("No driver is at work: what is still running was lost")
    assert printed(study)[2] == "2 trials run that no driver of search began."
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(Owner.current()))
    assert printed(study)[1].startswith(f"A driver is at work: process {os.getpid()} on ")
    study.set_user_attr(DRIVER_KEY, None)
    for owner in (Owner.current(), Owner("elsewhere", 1, 1.0)):
        study.ask().set_user_attr(OWNER_KEY, owner.as_attr(0))
    assert printed(study)[1] == f"Trials run on {', '.join(sorted(['elsewhere', Owner.current().host]))}, as far as is known."


def test_what_runs_or_was_lost_is_found_on_its_machine():
    """A worker is called as its log; its machine is a column where there is more than one."""
    study = make(1)
    for pid, host in enumerate(["node7", "node7", "node12"], start=41):
        study._storage.set_trial_system_attr(study.ask()._trial_id, OWNER_KEY, Owner(host, pid, 1.0).as_attr(2))
    workers = [None, "node7-41.worker-2", "node7-42.worker-2", "node12-43.worker-2"]
    assert [row["worker"] for row in json.loads(as_json(study, study.trials, 1, None))["trials"]] == workers
    table = [line.split() for line in printed(study)[-6:-1]]
    assert table[0][:3] == ["trial", "state", "host"]
    assert [line[2] for line in table[2:]] == ["node7", "node7", "node12"]
    study._storage.set_trial_system_attr(study.trials[3]._trial_id, FAILURE_KEY, DRIVER_DIED)
    study.tell(3, state=TrialState.FAIL)
    assert [row["worker"] or None for row in csv.DictReader(io.StringIO(as_csv(study, study.trials)))] == workers
    assert not any("host" in line.split() for line in printed(study))


def test_the_last_trials_unless_all_are_asked_for():
    study = make(25)
    assert printed(study)[-2] == "The last 20 of 25 trials; --all shows every one."
    assert len(printed(study, rows=None)) == 2 + 1 + 25


def test_a_pareto_front():
    study = optuna.create_study(study_name="demo", directions=["minimize", "maximize"])
    for values in ((0, 1), (1, 2), (1, 0)):
        study.add_trial(optuna.trial.create_trial(values=values))
    lines = printed(study)
    assert lines[-3:] == [
        "Pareto front, 2 trials:",
        "  trial 0: value_0 0, value_1 1 with ",
        "  trial 1: value_0 1, value_1 2 with ",
    ]


def make_running():
    """A study with a trial that was interrupted, one that was lost, and one that runs."""
    study = make(1)
    for reason in (INTERRUPTED, DRIVER_DIED):
        given_back = study.ask()
        given_back.set_user_attr(FAILURE_KEY, reason)
        study.tell(given_back, state=optuna.trial.TrialState.FAIL)
    running = study.ask(fixed_distributions={"x": optuna.distributions.FloatDistribution(0, 1)})
    study._storage.set_trial_system_attr(running._trial_id, OWNER_KEY, Owner.current().as_attr(0))
    for step in range(3):
        running.report(step / 10, step)
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(Owner.current()))
    return study


FILE = {"objective": "a:b", "directions": ["maximize"], "seed": 0, "space": {}, "settings": {"epochs": 20}, "enqueue": []}


def test_what_runs_has_step_value_and_time_and_what_was_given_back_has_not_failed():
    study = make_running()
    lines = printed(study)
    assert lines[0] == "demo: 1/30 trials finished (1 running · 1 complete · 1 interrupted · 1 lost)"
    assert lines[2].split() == ["trial", "state", "step", "value", "parameters", "duration", "note"]
    assert lines[4].split()[:2] == ["1", "interrupted"]
    assert lines[6].split()[:4] == ["3", "running", "2", "0.2"]
    assert lines[6].split()[-1] == "00:00"
    study.set_user_attr(FILE_KEY, FILE)
    save_reports(study, {"epoch": ("epochs",)})
    assert printed(study)[6].split()[:4] == ["3", "running", "3/20", "0.2"]


def test_what_climbs_rungs_has_the_value_of_its_last_one_and_the_time_of_all_its_legs():
    study = make(0)
    rungs = {RUNGS_KEY: {"1": [0.5, 60.0], "2": [0.7, 30.0]}}
    for state in (TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL):
        trial = optuna.trial.create_trial(state=state, intermediate_values={0: 0.5, 1: 0.6}, system_attrs=rungs)
        trial.datetime_start = datetime.datetime.now() - datetime.timedelta(seconds=10)
        study.add_trial(trial)
    paused, running, failed = json.loads(as_json(study, study.trials, 0, None))["trials"]
    assert (paused["state"], paused["values"], paused["seconds"]) == ("paused", {"value": 0.7}, 90.0)
    assert (running["state"], running["values"]) == ("running", {"value": 0.6})
    assert running["seconds"] == pytest.approx(100.0, abs=5.0)
    assert (failed["state"], failed["values"]) == ("fail", {}), "what it reported is no result"


@pytest.mark.parametrize(("owner", "seconds"), [({}, 20.0), ({"boot": "another"}, 86400.0), ({"boot": ""}, 86400.0)])
def test_the_time_of_what_runs_here_is_that_of_a_clock_that_nobody_sets(clock, owner, seconds):
    study = make(0)
    attrs = {OWNER_KEY: {**Owner.current().as_attr(0), **owner}}
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attrs)
    trial.datetime_start = datetime.datetime.now() - datetime.timedelta(days=1)
    study.add_trial(trial)
    clock.pass_(20.0)
    [running] = json.loads(as_json(study, study.trials, 0, None))["trials"]
    assert running["seconds"] == pytest.approx(seconds, abs=5.0)


def test_a_narrow_terminal_keeps_what_counts():
    study = optuna.create_study(study_name="demo", direction="maximize")
    space = {f"a_long_parameter_{number}": optuna.distributions.FloatDistribution(0, 1) for number in range(8)}
    trial = study.ask(fixed_distributions=space)
    trial.report(0.123456789, 2)
    out = io.StringIO()
    print_status(study, budget=3, rows=20, console=Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines[2:])) <= 80
    assert lines[3].split()[:4] == ["0", "running", "2", "0.123457"]
    assert "00:00" in lines[3]


def constant(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution:UserWarning")
def test_choices_of_any_kind_in_csv_and_json():
    choices = [None, [math.inf, 1], {"a": [math.nan]}]
    kinds = {"x": optuna.distributions.CategoricalDistribution(choices)}
    trials = [optuna.trial.create_trial(params={"x": choice}, distributions=kinds, value=1.0) for choice in choices]
    trials.append(optuna.trial.create_trial(value=1.0))
    study = make(0)
    rows = list(csv.DictReader(io.StringIO(as_csv(study, trials))))
    assert [row["params.x"] for row in rows] == ["None", "[inf, 1]", "{'a': [nan]}", ""]
    table = json.loads(as_json(study, trials, 4, None), parse_constant=constant)
    assert [trial["params"] for trial in table["trials"]] == [{"x": None}, {"x": [None, 1]}, {"x": {"a": [None]}}, {}]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "text", ["=HYPERLINK(A1)", "@SUM(A1)", "+1", "-2+3", "\t=1", "\r=1", "\x1b]0;title\x07", "a\udcff", "\u202e="]
)
def test_no_cell_of_csv_does_anything_in_a_spreadsheet_or_a_terminal(text):
    """Whoever made the study chose its names and texts."""
    space = {
        text: optuna.distributions.CategoricalDistribution([text, -1.5]),
        "x": optuna.distributions.FloatDistribution(-1, 0),
    }
    study = optuna.create_study(study_name="demo")
    study.set_metric_names([text])
    for value in (text, -1.5):
        study.add_trial(
            optuna.trial.create_trial(value=-1.0, params={text: value, "x": -0.5}, distributions=space, user_attrs={"a": text})
        )
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, system_attrs={FAILURE_KEY: text}))
    shown = as_csv(study, study.trials)
    assert shown.replace("\n", "").isprintable()
    header, first, second, failed = csv.reader(io.StringIO(shown))
    for cell in (*header, first[-2], failed[-3]):
        assert not cell.startswith(("=", "+", "-", "@"))
    assert (second[3], *second[-2:]) == ("-1.0", "-1.5", "-0.5"), "numbers stay"
    assert plain(text) in first[-2]
    assert first[-2].startswith("'") == text.startswith(("=", "+", "-", "@"))


def test_text_in_csv_is_not_cut():
    study = optuna.create_study()
    long = "x" * 1000
    kinds = {"x": optuna.distributions.CategoricalDistribution([long])}
    study.add_trial(optuna.trial.create_trial(params={"x": long}, distributions=kinds, value=1.0))
    [row] = csv.DictReader(io.StringIO(as_csv(study, study.trials)))
    assert row["params.x"] == long


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_no_column_of_csv_has_the_name_of_another():
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    fixed = ["trial", "state", "step", "seconds", "began", "note", "worker"]
    names = ["f1", *fixed, "params.x", "values.seconds", "values.f1"]
    study = optuna.create_study(study_name="demo", directions=["maximize"] * len(names))
    study.set_metric_names(names)
    study.tell(study.ask(fixed_distributions=space), [float(at) for at in range(len(names))])
    text = as_csv(study, study.trials)
    [header, _] = csv.reader(io.StringIO(text))
    assert len(set(header)) == len(header) == len(fixed) + len(names) + 1
    [row], [trial] = csv.DictReader(io.StringIO(text)), json.loads(as_json(study, study.trials, 1, None))["trials"]
    key = {name: name if name == "f1" else f"values.{name}" for name in names}
    assert {name: float(row[key[name]]) for name in names} == trial["values"]
    assert [row[name] or None for name in fixed] == [None if trial[name] is None else str(trial[name]) for name in fixed]
    assert float(row["params.x"]) == trial["params"]["x"]


def test_csv_and_json_have_every_trial():
    study = make_running()
    study.add_trial(optuna.trial.create_trial(value=math.inf))
    trials = study.get_trials()
    rows = list(csv.DictReader(io.StringIO(as_csv(study, trials))))
    assert [(row["trial"], row["state"], row["step"], row["value"]) for row in rows] == [
        ("0", "complete", "", "0.0"),
        ("1", "interrupted", "", ""),
        ("2", "lost", "", ""),
        ("3", "running", "2", "0.2"),
        ("4", "complete", "", "inf"),
    ]
    assert float(rows[3]["params.x"]) == trials[3].params["x"]
    table = json.loads(as_json(study, trials, 2, 30))
    assert (table["study"], table["finished"], table["budget"], table["best"]) == ("demo", 2, 30, [0])
    assert table["trials"][3]["values"] == {"value": 0.2}
    assert table["trials"][4]["values"] == {"value": None}


def test_a_study_is_watched_until_nobody_is_at_work(monkeypatch):
    study = make_running()
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            study.tell(3, 0.5)
            study.set_user_attr(DRIVER_KEY, None)

    monkeypatch.setattr(status, "time", type("Time", (), {"sleep": staticmethod(sleep)}))
    out = io.StringIO()
    watch_status(study, budget=2, console=Console(file=out, width=80, height=24, force_terminal=True))
    assert len(looks) == 2
    assert "2/2 trials finished" in out.getvalue()
