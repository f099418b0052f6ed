import signal
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from search.driver.ask import TrialSource
from search.driver.budget import BudgetUsage
from search.driver.compatibility import check_same
from search.driver.progress import Progress
from search.driver.warm_start import warm_start
from search.errors import StudyError
from search.records.attributes import (
    CONFIG_KEY,
    OWNER_KEY,
    RAN_KEY,
    RUN_KEYS,
    SEED_KEY,
    WARM_KEY,
    given_of,
)
from search.records.constraints import MEMORY_CONSTRAINT
from search.results.export import export_trial
from search.results.ranking import best_trials, metrics_of, rank
from search.results.report.page import render
from search.results.status import finished_count, print_status
from search.study_file.load import load

TWO = {"y": '{ type = "int", low = 1, high = 3 }'}


@pytest.fixture
def source(write):
    """A study of six trials that the file describes; the one with the highest x is the best."""

    def make(spec, count=6, name="old"):
        study = optuna.create_study(study_name=name, direction="maximize")
        check_same(study, spec)
        asker = TrialSource(study, spec)
        for _ in range(count):
            trial = asker.ask({OWNER_KEY: {"pid": 1}, RAN_KEY: 1.0})
            trial.report(trial.params["x"] / 2, 0)
            study.tell(trial, trial.params["x"])
        return study

    return make


def start(spec, old, name="new"):
    study = optuna.create_study(study_name=name, directions=list(spec.directions))
    check_same(study, spec)
    return study, warm_start(study, spec, old)


def test_trials_are_taken_with_their_values_reports_and_a_link(write, source):
    spec = load(write())
    old = source(spec)
    study, summary = start(spec, old)
    assert (summary.taken, summary.compared) == (6, 6)
    assert [(t.params, t.values, t.intermediate_values) for t in study.trials] == [
        (t.params, t.values, t.intermediate_values) for t in old.trials
    ]
    assert study.trials[3].user_attrs[WARM_KEY] == {"study": "old", "trial": 3, "compared": True}
    for trial in study.trials:
        assert not {*trial.user_attrs, *trial.system_attrs} & set(RUN_KEYS), "how the other study came to it is that one's"
    assert best_trials(study)[0].params == old.best_params
    assert rank(study.trials, metrics_of(study))[0].params == old.best_params


def test_with_enough_of_them_the_sampler_learns_at_once(write, source):
    spec = load(write())
    begun = TrialSource(optuna.create_study(direction="maximize"), spec)
    last = [begun.ask({}).params for _ in range(6)][-1]
    for count, goes_on_with_the_design in ((5, True), (6, False)):
        study, _ = start(spec, source(spec, count))
        assert (TrialSource(study, spec).ask({}).params == last) is goes_on_with_the_design


def test_of_few_the_initial_design_repeats_none(write, source):
    spec = load(write())
    cold = optuna.create_study(direction="maximize")
    begun = TrialSource(cold, spec)
    design = [begun.ask({}).params for _ in range(6)]
    old = source(spec, 0)
    for params in (design[0], design[3], {"x": 0.123}):
        old.add_trial(optuna.trial.create_trial(value=1.0, params=params, distributions=dict(spec.space)))
    study, _ = start(spec, old)
    warm_source = TrialSource(study, spec)
    assert [warm_source.ask({}).params for _ in range(4)] == [design[1], design[2], design[4], design[5]]


def test_they_count_against_no_budget_and_shift_no_seed(write, source):
    spec = load(write(sampler={"name": '"random"'}))
    study, _ = start(spec, source(spec))
    cold = optuna.create_study(direction="maximize")
    drawn = [(trial.params, trial.user_attrs[SEED_KEY]) for trial in (TrialSource(study, spec).ask({}) for _ in range(3))]
    assert drawn == [
        (trial.params, trial.user_attrs[SEED_KEY]) for trial in (TrialSource(cold, spec).ask({}) for _ in range(3))
    ]
    assert (finished_count(study), BudgetUsage.of(study).finished, BudgetUsage.of(study).reports) == (0, 0, 0)
    assert Progress.of(study, 10).finished == 0
    assert Progress.of(study, 10).best == (best_trials(study)[0].number, best_trials(study)[0].value)


@pytest.mark.parametrize(("steps", "compared"), [("4", 6), ("8", 0)])
def test_patience_begins_with_their_best_value_where_it_can_be_compared(write, source, steps, compared):
    old = source(load(write(objective={"steps": "4"})))
    spec = load(write(objective={"steps": steps}))
    study, summary = start(spec, old)
    assert summary.compared == compared
    assert BudgetUsage.of(study).since_better == 0, "none of them is this study's own"
    study.tell(TrialSource(study, spec).ask({}), old.best_value - 1)
    assert BudgetUsage.of(study).since_better == (1 if compared else 0)


def test_the_sampler_learns_from_them(write, source):
    """TPE draws its first trials at random; with enough of another study it need not."""
    spec = load(write(sampler={"name": '"tpe"'}))
    study, _ = start(spec, source(spec, 40))
    assert (
        TrialSource(study, spec).ask({}).params != TrialSource(optuna.create_study(direction="maximize"), spec).ask({}).params
    )


def test_what_does_not_fit_the_space_is_left_out_and_said(write, source):
    old = source(load(write(space={"x": '{ type = "float", low = -10.0, high = 10.0 }', **TWO})))
    spec = load(write(space={"x": '{ type = "float", low = 0.0, high = 10.0 }'}))
    study, summary = start(spec, old)
    inside = [trial for trial in old.trials if trial.params["x"] >= 0]
    assert 0 < len(inside) < 6
    assert [trial.params for trial in study.trials] == [{"x": trial.params["x"]} for trial in inside]
    assert summary.compared == 0, "they had a parameter that the new ones have not"
    assert best_trials(study) == []
    text = "\n".join(summary.lines())
    assert f"{len(inside)} trials of old taken over" in text
    assert f"Left out, {6 - len(inside)} trials: x must lie in [0.0, 10.0]." in text
    assert f"Left out of {len(inside)} trials: y, which is not in [space]." in text
    assert f"Of {len(inside)} the value cannot be compared" in text


def test_a_new_parameter_has_the_value_that_was_fixed_before(write, source):
    old = source(load(write(objective={"steps": "2"})))
    spec = load(write(space={"x": None, **TWO, "steps": '{ type = "int", low = 1, high = 4 }'}))
    assert "nothing says what y was" in "\n".join(start(spec, old)[1].lines())
    spec = load(
        write(space={"x": '{ type = "float", low = -10.0, high = 10.0 }', "steps": '{ type = "int", low = 1, high = 4 }'})
    )
    study, summary = start(spec, old)
    assert (summary.taken, summary.compared) == (6, 6)
    assert {trial.params["steps"] for trial in study.trials} == {2}


def test_what_an_objective_has_put_on_record_says_what_a_new_parameter_was(write, source):
    old = source(load(write()), 0)
    space = dict(load(write()).space)
    for y in (2, 9):
        old.add_trial(
            create_trial(value=1.0, params={"x": 0.5}, distributions=space, user_attrs={CONFIG_KEY: {"x": 0.5, "y": y}})
        )
    study, summary = start(load(write(space=TWO)), old)
    assert (summary.taken, summary.compared) == (1, 1)
    assert study.trials[0].params == {"x": 0.5, "y": 2}


def test_the_queue_is_tried_though_the_other_study_has_tried_it(write, source):
    spec = load(write(enqueue="[[enqueue]]\nx = 2"))
    old = source(spec, 3)
    study, _ = start(spec, old)
    assert given_of(old.trials[0])
    assert not any(map(given_of, study.trials))
    assert TrialSource(study, spec).ask({}).params == {"x": 2.0}


def test_of_another_objective_they_guide_but_none_is_the_best(write, source):
    old = source(load(write(study={"objective": '"objectives:noisy"'})))
    study, summary = start(load(write()), old)
    assert (summary.taken, summary.compared) == (6, 0)
    assert best_trials(study) == []


def test_what_could_not_be_compared_cannot_be_in_a_third_study_either(write, source):
    """Though that has the settings of the second one."""
    first = source(load(write(objective={"steps": "4"})))
    spec = load(write(objective={"steps": "8"}))
    second, _ = start(spec, first, name="second")
    second.tell(TrialSource(second, spec).ask({}), -100.0)
    third, summary = start(spec, second, name="third")
    assert (summary.taken, summary.compared) == (7, 1)
    assert best_trials(third)[0].value == -100.0


def test_conditional_parameters_are_taken_where_their_condition_holds(write, source):
    space = {
        "kind": '{ type = "categorical", choices = ["a", "b"] }',
        "x": '{ type = "float", low = 0.0, high = 1.0 }',
        "momentum": '{ type = "float", low = 0.0, high = 1.0, when = { param = "kind", is = "b" } }',
    }
    spec = load(write(space=space))
    old = source(spec, 8)
    study, summary = start(spec, old)
    assert (summary.taken, summary.compared) == (8, 8)
    assert [trial.params for trial in study.trials] == [trial.params for trial in old.trials]


def test_with_other_settings_they_guide_but_none_is_the_best(write, source):
    old = source(load(write(objective={"steps": "4"})))
    spec = load(write(objective={"steps": "8"}))
    study, summary = start(spec, old)
    assert (summary.taken, summary.compared) == (6, 0)
    assert best_trials(study) == rank(study.trials, metrics_of(study)) == []
    assert study.trials[0].intermediate_values == {}, "no pruner compares with them"
    assert Progress.of(study, 10).best is None
    own = TrialSource(study, spec).ask({})
    study.tell(own, -100.0)
    assert best_trials(study)[0].number == own.number
    assert f"trial = {own.number}" in export_trial(study, spec, "sqlite:///x.db")


def test_trials_without_a_result_stay_behind(write, source):
    spec = load(write())
    old = source(spec, 2)
    TrialSource(old, spec).ask({})
    infeasible = TrialSource(old, spec).ask({})
    infeasible.set_constraint(MEMORY_CONSTRAINT, 1.0)
    old.tell(infeasible, 1e9)
    old.add_trial(create_trial(state=TrialState.FAIL))
    old.add_trial(create_trial(value=float("inf"), params={"x": 0.5}, distributions=dict(spec.space)))
    study, summary = start(spec, old)
    assert summary.taken == 2
    assert [trial.values for trial in study.trials] == [trial.values for trial in old.trials[:2]]
    assert "Left out, 1 trial: its value is not finite." in summary.lines()


def test_what_they_say_of_constraints_goes_with_them(write, source):
    """Of those that break one a sampler learns as much as of the others."""
    spec = load(write())
    old = source(spec, 2)
    broken = TrialSource(old, spec).ask({})
    broken.set_constraint("size", 1.5)
    broken.set_constraint(MEMORY_CONSTRAINT, -1.0)
    old.tell(broken, 1e9)
    study, summary = start(spec, old)
    assert (summary.taken, summary.compared) == (3, 3), "no objective, setting or parameter differs"
    assert [trial.constraints for trial in study.trials] == [{}, {}, {"size": 1.5}]
    assert best_trials(study)[0].value < 1e9


DIES = """
import os, signal, sys
import optuna

def add_trial(study, trial, add=optuna.Study.add_trial):
    add(study, trial)
    if study.study_name == "new" and len(study.trials) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

optuna.Study.add_trial = add_trial
from search.cli import cli
cli(sys.argv[1:])
"""


def test_a_start_that_was_killed_is_gone_on_with(write, search, read_study, environment):
    write(study={"trials": "4"})
    search("launch", "demo.toml", "--quiet")
    arguments = ("launch", "demo.toml", "--quiet", "--as", "new", "--trials", "1")
    killed = subprocess.run([sys.executable, "-c", DIES, *arguments, "--warm-start", "demo"], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_study("new").trials) == 2
    refused = search(*arguments, code=1).stderr
    assert 'study "new": its warm start must be whole; got a part, since the launch was killed. Add --warm-start' in refused
    search(*arguments, "--warm-start", "demo")
    assert [t.user_attrs.get(WARM_KEY, {}).get("trial") for t in read_study("new").trials] == [0, 1, 2, 3, None]
    assert [t.params for t in read_study("new").trials[:4]] == [t.params for t in read_study("demo").trials]


def test_it_is_done_once(write, source):
    old = source(load(write(space={"x": '{ type = "float", low = -10.0, high = 10.0 }'})))
    for low, high, count in ((-10.0, 10.0, 6), (20.0, 30.0, 0)):
        spec = load(write(space={"x": f'{{ type = "float", low = {low}, high = {high} }}'}))
        study, summary = start(spec, old)
        assert summary.taken == count
        study.tell(TrialSource(study, spec).ask({}), 1.0)
        assert warm_start(study, spec, old) is None, "the same launch again goes on, whether anything fitted or not"
        assert len(study.trials) == count + 1
        with pytest.raises(StudyError, match='study "new": must learn from one study, "old"; got "other"'):
            warm_start(study, spec, source(spec, 1, name="other"))


@pytest.mark.parametrize(("sampler", "told"), [("tpe", False), ("random", True), ("nsgaii", True)])
def test_a_sampler_that_does_not_learn_from_them_is_told(write, source, sampler, told):
    spec = load(write(sampler={"name": f'"{sampler}"'}))
    lines = start(spec, source(spec))[1].lines()
    assert (f"{sampler} does not learn from them; tpe and gp would." in lines) is told


def test_a_study_that_was_begun_without_is_refused(write, source):
    spec = load(write())
    with pytest.raises(StudyError, match=r'study "old": must be new for a warm start; got 3 trials of its own\. Add --as'):
        warm_start(source(spec, 3), spec, source(spec, 6, name="other"))


def test_other_directions_are_refused(write, source):
    spec = load(write(study={"direction": '"minimize"'}))
    with pytest.raises(StudyError, match='a warm start must have its directions; got maximize from "old"'):
        start(spec, source(load(write())))


def test_several_directions(write):
    study = {
        "objective": '"objectives:two_values"',
        "direction": None,
        "directions": '["maximize", "minimize"]',
        "metric": None,
    }
    spec = load(write(study=study, pruner={"name": '"none"'}))
    old = optuna.create_study(study_name="old", directions=["maximize", "minimize"])
    check_same(old, spec)
    for _ in range(4):
        trial = TrialSource(old, spec).ask({})
        old.tell(trial, [trial.params["x"], trial.params["x"]])
    new, summary = start(spec, old)
    assert summary.compared == 4
    assert len(best_trials(new)) == len(old.best_trials)


def test_they_are_told_apart_in_status_and_report(write, source, capsys):
    spec = load(write())
    study, _ = start(spec, source(spec))
    study.tell(TrialSource(study, spec).ask({OWNER_KEY: {"worker": 0}}), -50.0)
    print_status(study, budget=10, rows=20, console=Console(width=200))
    shown = capsys.readouterr().out
    assert "1/10 trials finished (1 complete · 6 of a warm start)" in shown
    assert "trial 3 of old" in shown
    assert "trial 3 of old" not in render(study)


def test_a_launch_under_another_name(write, search, read_study):
    write(study={"trials": "3"})
    search("launch", "demo.toml")
    write(study={"trials": "4"}, space={"x": '{ type = "float", low = -8.0, high = 8.0 }'})
    refused = search("launch", "demo.toml", code=1)
    assert "space.x: must stay as it was" in refused.stderr
    assert "add --as NAME to start another study (--warm-start demo has it learn from this one)" in refused.stderr
    done = search("launch", "demo.toml", "--as", "wider", "--warm-start", "demo")
    assert "objective.\nWarm start: 3 trials of demo taken over; they count against no budget.\n" in done.stdout
    assert "Budget reached: 4/4 trials." in done.stdout
    assert "search export demo.toml#wider -o best.toml" in done.stdout
    assert len(read_study("wider").trials) == 7
    assert len(read_study("demo").trials) == 3
    assert "wider: 4/4 trials finished" in search("status", "demo.toml#wider").stdout
    exported = search("export", "demo.toml#wider").stdout
    assert 'study = "wider"' in exported
    again = search("launch", "demo.toml", "--as", "wider", "--warm-start", "demo", "--trials", "5")
    assert "Warm start" not in again.stdout
    assert len(read_study("wider").trials) == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--as", "a b"], '--as: must be letters, digits, dots, dashes and underscores; got "a b". Change the others.'),
        (["--as", "new", "--warm-start", "nobody"], "nobody"),
        (["--as", "new", "--warm-start", "nobody.toml"], "nobody.toml"),
    ],
)
def test_mistakes(write, search, arguments, says):
    write(study={"trials": "1"})
    search("launch", "demo.toml", "--quiet")
    assert says in search("launch", "demo.toml", *arguments, code=1).stderr
