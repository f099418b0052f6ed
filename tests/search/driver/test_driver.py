"""The driver with workers in threads: what is recorded of each trial. Processes and signals are in test_launch.py."""

import json
from typing import get_args

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.driver.ask import TrialSource
from search.driver.budget import EndReason
from search.driver.driver import Driver
from search.driver.initial_design import initial_design
from search.driver.retry import requeue
from search.errors import ObjectiveError, StudyFileError
from search.records.attributes import (
    FAILURE_KEY,
    QUEUED_KEY,
    RETRY_KEY,
    SEED_KEY,
    config_of,
    failure_of,
    owner_of,
    provenance_of,
    queued_of,
    traceback_of,
)
from search.records.saving import save
from search.seeds import Stream, derive
from search.study_file.load import load
from tests.inline import InlineExecutor


def test_everything_about_a_trial_is_recorded(drive):
    study = drive(study={"objective": '"objectives:Parabola"', "trials": "3"}, objective={"note": '"hello"'})
    assert study.user_attrs["reason"] == "budget"
    trial = study.trials[2]
    assert trial.state is TrialState.COMPLETE
    assert trial.value == pytest.approx(-((trial.params["x"] - 2) ** 2), abs=1e-5)
    assert trial.intermediate_values == {step: -((trial.params["x"] - 2) ** 2) * (4 - step) for step in range(4)}
    assert trial.duration.total_seconds() > 0
    assert trial.user_attrs["note"] == "hello"
    assert trial.user_attrs["nth_in_worker"] == 3, "one worker lives for many trials"
    assert owner_of(trial)["worker"] == 0
    assert 0 <= trial.user_attrs[SEED_KEY] < 2**31


def test_no_user_attribute_of_a_trial_is_long_and_nothing_is_lost(drive):
    entry = {f"unused_{at}": {"type": '"float"', "low": "0.0", "high": "1.0"} for at in range(20)}
    space = {name: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }" for name, table in entry.items()}
    queued = "[[enqueue]]\nx = 1.0\n" + "".join(f"{name} = 0.5\n" for name in entry)
    setting = "s" * 300
    study = drive(
        study={"objective": '"objectives:at_length"', "trials": "2"},
        objective={"text": f'"{setting}"'},
        space=space,
        enqueue=queued,
    )
    for trial in study.trials:
        for key, value in trial.user_attrs.items():
            assert len(json.dumps(value, ensure_ascii=False)) <= 200, key
        assert config_of(trial) == {"epochs": 3, "text": setting}
        assert len(provenance_of(trial)) == 5
        assert owner_of(trial)["worker"] == 0
    assert len(queued_of(study.trials[0])) == 21
    failed = study.trials[1]
    assert failed.user_attrs[FAILURE_KEY].startswith("OwnError: no memory memory")
    assert failure_of(failed) == "OwnError: no " + ("memory " * 60).strip()
    assert "Traceback" in traceback_of(failed)


def test_a_retry_keeps_its_place_in_the_queue_however_long_its_entry_is():
    study = optuna.create_study()
    entry = {"x": 1.0, "words": "w" * 300}
    lost = study.ask()
    save(study._storage, lost._trial_id, QUEUED_KEY, entry)
    requeue(study, lost.number, "killed")
    assert queued_of(study.trials[-1]) == entry
    assert study.trials[-1].state is TrialState.WAITING


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsgaii"])
def test_the_same_file_gives_the_same_study(drive, sampler, results):
    tables = {"study": {"trials": "14"}, "sampler": {"name": f'"{sampler}"'}}
    first = results(drive(**tables))
    assert first == results(drive(**tables))
    assert len({params["x"] for params, *_ in first}) == 14
    assert first != results(drive(study={"trials": "14", "seed": "1"}, sampler=tables["sampler"]))


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_lost_trial_changes_nothing_after_it(drive, sampler, results):
    tables = {"sampler": {"name": f'"{sampler}"'}, "enqueue": "[[enqueue]]\nx = 1\n[[enqueue]]\nx = 3"}
    whole = drive(study={"trials": "14"}, **tables)
    study = drive(trials=1, study={"trials": "14"}, **tables)
    for budget in (2, 5, 13, 14):
        # What a kill leaves behind: a trial asked for, and RUNNING.
        lost = TrialSource(study, load("demo.toml")).ask({})
        requeue(study, lost.number, "killed")
        drive(study, trials=budget, study={"trials": "14"}, **tables)
    assert len(study.trials) == len(whole.trials) + 4
    assert results(study) == results(whole)


def test_a_trial_killed_while_it_was_drawn_is_drawn_to_its_end(drive, results):
    tables = {"study": {"trials": "12"}, "space": {"y": '{ type = "float", low = 0.0, high = 1.0 }'}}
    whole = drive(**tables)
    study = drive(trials=11, **tables)
    study.sampler = optuna.samplers.RandomSampler()
    half = study.ask()
    half._suggest("x", optuna.distributions.FloatDistribution(-10, 10))
    study._storage.set_trial_user_attr(half._trial_id, "note", "x alone was drawn")
    study.enqueue_trial({"x": whole.trials[11].params["x"]}, user_attrs={RETRY_KEY: 11})
    study.tell(half, state=TrialState.FAIL)
    drive(study, **tables)
    assert results(study) == results(whole)


def test_enqueued_configs_come_first_and_once(drive):
    enqueue = "[[enqueue]]\nx = 1.5\n[[enqueue]]\nx = 2"
    study = drive(trials=1, enqueue=enqueue)
    drive(study, trials=4, enqueue=enqueue)
    assert [trial.params["x"] for trial in study.trials[:2]] == [1.5, 2.0]
    assert len({trial.params["x"] for trial in study.trials}) == 4


def test_a_config_enqueued_later_is_tried_too(drive):
    study = drive(trials=2)
    drive(study, trials=3, enqueue="[[enqueue]]\nx = 1.5")
    assert study.trials[2].params == {"x": 1.5}


@pytest.mark.parametrize("budgets", [[100], [1, 100], [3, 100]], ids=str)
def test_a_grid_is_tried_whole_and_once(drive, budgets):
    space = {"x": '{ type = "float", low = -4.0, high = 4.0, step = 2.0 }'}
    study = None
    for trials in budgets:
        study = drive(study, trials=trials, space=space, sampler={"name": '"grid"'}, enqueue="[[enqueue]]\nx = 0")
    assert study.user_attrs["reason"] == "grid"
    assert sorted(trial.params["x"] for trial in study.trials) == [-4, -2, 0, 2, 4]
    assert study.trials[0].params["x"] == 0


def test_a_point_of_a_grid_that_was_enqueued_in_fewer_digits_is_tried_once(drive):
    space = {"x": '{ type = "float", low = 0.0, high = 1.0, step = 0.1 }'}
    study = drive(trials=100, space=space, sampler={"name": '"grid"'}, enqueue="[[enqueue]]\nx = 0.3\n[[enqueue]]\nx = 0.7")
    assert sorted(trial.params["x"] for trial in study.trials) == pytest.approx([step / 10 for step in range(11)])


@pytest.mark.parametrize("budgets", [[8], [1, 8], [2, 8]], ids=str)
def test_of_equal_entries_one_is_tried_and_the_initial_design_follows(drive, budgets):
    study = None
    for trials in budgets:
        study = drive(study, trials=trials, enqueue="[[enqueue]]\nx = 3\n[[enqueue]]\nx = 3.0")
    drawn = [trial.params for trial in study.trials]
    assert drawn[:6] == [{"x": 3.0}, *list(initial_design(load("demo.toml").space, {}, 6, derive(0, Stream.DESIGN)))[:5]]
    assert [trial.params["x"] for trial in study.trials].count(3.0) == 1


def test_a_study_that_tried_equal_entries_each_goes_on_with_its_design(drive):
    study, entry = optuna.create_study(), {"x": 3.0}
    space = {"x": optuna.distributions.FloatDistribution(-10.0, 10.0)}
    for _ in range(2):
        study.add_trial(create_trial(params=entry, distributions=space, value=0.0, system_attrs={QUEUED_KEY: entry}))
    drive(study, trials=4, enqueue="[[enqueue]]\nx = 3\n[[enqueue]]\nx = 3")
    design = list(initial_design(load("demo.toml").space, {}, 6, derive(0, Stream.DESIGN)))
    assert [trial.params for trial in study.trials[2:]] == design[:2]


def test_a_study_begins_with_the_middle_of_its_space_and_points_all_over_it(drive):
    study = drive(trials=8, space={"epochs": '{ type = "int", low = 1, high = 9 }'})
    drawn = [trial.params for trial in study.trials]
    assert drawn[:2] == [{"x": 0.0, "epochs": 1}, {"x": 0.0, "epochs": 5}]
    spec = load("demo.toml")
    assert drawn[:6] == list(initial_design(spec.space, {}, 6, derive(0, Stream.DESIGN)))
    assert "fixed_params" not in study.trials[0].system_attrs, "nobody asked for it, so that it is no baseline"


def test_the_queue_comes_before_the_initial_design_and_counts_as_a_part_of_it(drive):
    study = drive(trials=7, enqueue="[[enqueue]]\nx = 3")
    drawn = [trial.params for trial in study.trials]
    assert drawn[:2] == [{"x": 3.0}, {"x": 0.0}]
    design = list(initial_design(load("demo.toml").space, {}, 6, derive(0, Stream.DESIGN)))
    assert drawn[1:6] == design[:5]
    assert drawn[6] != design[5], "six trials are enough to learn from"


@pytest.mark.parametrize("sampler", [{"name": '"tpe"', "initial_design": "false"}, {"name": '"random"'}])
def test_who_begins_at_random(drive, sampler):
    assert drive(trials=1, sampler=sampler).trials[0].params["x"] != 0.0


def test_without_a_sampler_the_queue_alone_is_tried(drive):
    study = drive(trials=100, sampler={"name": '"none"'}, enqueue="[[enqueue]]\nx = 1\n[[enqueue]]\nx = 3")
    assert study.user_attrs["reason"] == "grid"
    assert [trial.params["x"] for trial in study.trials] == [1, 3]


def test_the_pruner_prunes(drive):
    study = drive(study={"trials": "20"}, pruner={"name": '"median"', "n_startup_trials": "1"})
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert pruned
    assert all(len(trial.intermediate_values) < 4 for trial in pruned)
    assert len(study.trials) == 20, "a pruned trial counts against the budget"


def test_wilcoxon_prunes_between_folds(drive):
    study = drive(
        study={"objective": '"objectives:folded"', "trials": "20"},
        pruner={"name": '"wilcoxon"', "p_threshold": "0.1"},
        objective={"folds": "6"},
    )
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert len(pruned) >= 5
    assert {len(trial.intermediate_values) for trial in pruned} == {4}, "2 ** -4 is the first p below 0.1"
    kept = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert {len(trial.intermediate_values) for trial in kept} == {6}
    assert abs(study.best_params["x"] - 2) == min(abs(trial.params["x"] - 2) for trial in study.trials)


def test_several_directions(drive):
    study = {
        "objective": '"objectives:two_values"',
        "direction": None,
        "directions": '["minimize", "minimize"]',
        "metric": None,
    }
    study = drive(study=study)
    assert all(trial.values == [trial.params["x"], -trial.params["x"]] for trial in study.trials)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("raise", "OwnError: the disk is full"),
        ("sys_exit", "SystemExit: 3"),
        ("none", "the objective must return one number; got None"),
        ("nan", "the objective must return one number; got nan (not a number)"),
        ("inf", "the objective must return one number; got -inf (infinite)"),
        ("text", "the objective must return one number; got 'high'"),
        ("two", "the objective must return one number; got (1.0, 2.0)"),
        ("bad_report", "TypeError: The `value` argument is of type '<class 'str'>' but supposed to be a float."),
    ],
)
def test_a_failed_trial_says_why_and_does_not_count(drive, mode, reason):
    study = drive(study={"objective": '"objectives:misbehave"', "trials": "3"}, objective={"mode": f'"{mode}"'})
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].user_attrs[FAILURE_KEY] == reason
    assert ("Traceback" in (traceback_of(study.trials[1]) or "")) == (mode in ("raise", "sys_exit", "bad_report"))


def test_failures_in_a_row_end_the_launch(drive):
    study = optuna.create_study(direction="maximize")
    settings = {"mode": '"raise"', "bad": "[1, 2, 4, 5, 6, 7]"}
    with pytest.raises(ObjectiveError, match=r"3 trials in a row failed, the last one \(trial 6\) because: OwnError: the disk"):
        drive(study, study={"objective": '"objectives:misbehave"'}, objective=settings)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "FAIL", "FAIL", "FAIL"]


def test_a_failure_that_is_tried_again_does_not_count_in_a_row(drive):
    study = {"objective": '"objectives:run_out"', "trials": "12", "max_failures": "1", "max_retries": "3"}
    drive(study=study, objective={"above": "0.0"}, sampler={"name": '"random"'})


def test_the_budget_holds_with_several_workers(drive):
    study = drive(study={"trials": "25"}, workers=4)
    assert [trial.state.is_finished() for trial in study.trials] == [True] * 25
    assert {owner_of(trial)["worker"] for trial in study.trials} == {0, 1, 2, 3}


def test_several_workers_draw_the_same_given_the_order_told(drive):
    tables = {"pruner": {"name": '"none"'}, "sampler": {"name": '"tpe"', "n_startup_trials": "4"}}
    study = drive(study={"trials": "24"}, objective={"pause": "0.002"}, workers=4, **tables)
    asked = [(trial.datetime_start, "ask", trial) for trial in study.trials]
    told = [(trial.datetime_complete, "tell", trial) for trial in study.trials]
    events = sorted(asked + told, key=lambda event: event[0])
    assert [what for _, what, _ in events] != ["ask", "tell"] * 24, "they did run side by side"
    again = optuna.create_study(direction="maximize")
    asker, running = TrialSource(again, load("demo.toml")), {}
    for _, what, trial in events:
        if what == "tell":
            running[trial.number].study.tell(running[trial.number], trial.values)
            continue
        drawn = running[trial.number] = asker.ask({})
        assert (drawn.params, drawn.user_attrs[SEED_KEY]) == (trial.params, trial.user_attrs[SEED_KEY])


def test_no_trial_starts_after_the_timeout(drive):
    study = drive(study={"trials": "1000"}, objective={"pause": "0.05"}, timeout_s=0.5)
    assert study.user_attrs["reason"] == "timeout"
    assert 1 <= len(study.trials) <= 4
    assert all(trial.state.is_finished() for trial in study.trials)


ENDS = {
    "budget": {},
    "timeout": {"study": {"timeout": "0.1"}},
    "reports": {"study": {"max_reports": "8"}},
    "device_time": {"study": {"max_device_time": "0.1"}},
    "patience": {"study": {"patience": "2"}},
    "grid": {"sampler": {"name": '"grid"'}},
    "sampler": {"sampler": {"target": '"tests.search.own_classes:Stopping"'}},
    "interrupted": {},
}


@pytest.mark.parametrize(
    ("reason", "climbs"),
    [(reason, climbs) for reason in get_args(EndReason) for climbs in (False, True) if (reason, climbs) != ("grid", True)],
)
def test_whatever_ends_a_search_no_config_begins_after_it(drive, monkeypatch, reason, climbs):
    """With a fidelity, what is paused may go on after some of them, and another reason may follow, but that is all."""
    at_the_end, exhausted = [], Driver._exhausted

    def configs(study):
        return sum(RETRY_KEY not in trial.user_attrs for trial in study.trials)

    def looked_at(driver):
        if reason == "interrupted" and configs(driver._study) == 5:
            driver._interrupts.count = 1
        why = exhausted(driver)
        if why is not None and not at_the_end:
            at_the_end[:] = why, configs(driver._study)
        return why

    monkeypatch.setattr(Driver, "_exhausted", looked_at)
    fewest, most = (1, 8) if climbs else (2, 2)
    epochs = f'{{ type = "int", low = {fewest}, high = {most}, fidelity = {str(climbs).lower()} }}'
    space = {"x": '{ type = "float", low = -10.0, high = 10.0, step = 2.5 }', "epochs": epochs}
    tables = {"study": {}, **ENDS[reason]}
    tables["study"] = {"objective": '"objectives:Climbing"', "trials": "12", **tables["study"]}
    study = drive(**tables, space=space, objective={"pause": "0.01"})
    assert study.user_attrs["reason"] == reason
    assert at_the_end == [reason, configs(study)]
    assert configs(study) == {"budget": 12, "grid": 9, "sampler": 5, "interrupted": 5}.get(reason, configs(study))


def test_a_reached_budget_starts_no_worker(drive, monkeypatch):
    study = drive(trials=2)
    monkeypatch.setattr(InlineExecutor, "start", lambda *_: pytest.fail("started"))
    drive(study, trials=2)
    assert len(study.trials) == 2


def test_a_pruner_that_could_never_prune_ends_the_launch_before_a_trial_runs(drive):
    with pytest.raises(StudyFileError, match=r"pruner\.n_warmup_steps: median can never prune: it needs 21 reports of a trial"):
        drive(
            study={"objective": '"objectives:Telling"'},
            objective={"epochs": "20"},
            pruner={"name": '"median"', "n_warmup_steps": "20"},
        )
