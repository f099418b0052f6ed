"""Numbers of the report against what an independent query of the SQLite file gives."""

import re
import sqlite3
import time
from contextlib import closing
from statistics import median

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.errors import StudyError
from search.records.attributes import FILE_KEY, OWNER_KEY, QUEUED_KEY, RAN_KEY, RETRY_KEY
from search.records.constraints import MEMORY_CONSTRAINT
from search.records.rungs import RUNGS_KEY
from search.records.states import count_states
from search.results.report.facts import NO_REASON, gather
from search.results.report.origin import origin
from search.results.report.page import render
from search.results.trial_rows import rows_of
from tests.search.results.report.conftest import START


@pytest.fixture(scope="module")
def facts(varied):
    return gather(varied)


@pytest.fixture
def ask(database):
    def query(text):
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(text).fetchall()

    return query


STEPS = """SELECT t.number, t.state, COUNT(i.step), (julianday(t.datetime_complete) - julianday(t.datetime_start)) * 86400
           FROM trials t LEFT JOIN trial_intermediate_values i ON i.trial_id = t.trial_id GROUP BY t.trial_id"""
SPANS = """SELECT a.value_json, MIN(julianday(datetime_start)) * 86400, MAX(julianday(datetime_complete)) * 86400,
           SUM(julianday(datetime_complete) - julianday(datetime_start)) * 86400
           FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'search:owner'
           WHERE datetime_complete IS NOT NULL GROUP BY a.value_json"""


def test_counts_best_and_top(facts, ask):
    states = dict(ask("SELECT state, COUNT(*) FROM trials GROUP BY state"))
    assert {state.upper(): count for state, count in count_states(facts.trials).items()} == states
    query = """SELECT number, value FROM trials t JOIN trial_values v ON v.trial_id = t.trial_id
               WHERE t.state = 'COMPLETE' ORDER BY value DESC LIMIT 10"""
    assert [(trial.number, trial.value) for trial in facts.top] == ask(query)
    assert [trial.number for trial in facts.best] == [facts.top[0].number]


def test_the_baseline_and_the_gain(facts, ask):
    [(number,)] = ask(
        "SELECT number FROM trials t JOIN trial_system_attributes a USING (trial_id) WHERE a.key = 'fixed_params'"
    )
    assert facts.baseline.number == number == 0
    [(best, baseline)] = ask(
        "SELECT MAX(value), MAX(value) FILTER (WHERE number = 0) FROM trial_values JOIN trials t USING (trial_id) "
        "WHERE t.state = 'COMPLETE'"
    )
    assert facts.gain() == pytest.approx(best - baseline)


def test_what_pruning_saved(facts, ask):
    saved = facts.pruning
    rows = ask(STEPS)
    epochs = dict(ask("SELECT number, param_value FROM trials JOIN trial_params USING (trial_id) WHERE param_name = 'epochs'"))
    step_s = median(seconds / steps for _, state, steps, seconds in rows if state == "COMPLETE")
    steps_saved = sum(epochs[number] - steps for number, state, steps, _ in rows if state == "PRUNED")
    assert saved.planned_by == "epochs"
    assert (saved.trials, saved.steps_run, saved.steps_saved) == (2, sum(row[2] for row in rows), steps_saved)
    assert saved.seconds_saved == pytest.approx(steps_saved * step_s, abs=1e-3)
    assert saved.share == pytest.approx(4 / 26)


def test_without_a_parameter_that_plans_them_steps_are_those_of_the_median_trial(study, add):
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for steps in (2, 6, 10):
        add(study, 1.0, params={"x": 0.1}, space=space, reports=[0.0] * steps, seconds=2.0 * steps)
    add(study, 0.0, "PRUNED", params={"x": 0.1}, space=space, reports=[0.0])
    add(study, 0.0, "PRUNED", params={"x": 0.1}, space=space, reports=[0.0] * 8)
    saved = gather(study).pruning
    assert (saved.planned_by, saved.steps_saved, saved.seconds_saved) == (None, 5, 10)


@pytest.mark.parametrize("planned", [None, "auto", float("inf"), float("nan")])
def test_a_plan_that_is_no_number_is_that_of_the_median_trial(study, add, planned):
    space = {"epochs": optuna.distributions.CategoricalDistribution([2, 6, 10, planned])}
    for steps in (2, 6, 10):
        add(study, 1.0, params={"epochs": steps}, space=space, reports=[0.0] * steps)
    add(study, 0.0, "PRUNED", params={"epochs": 10}, space=space, reports=[0.0])
    add(study, 0.0, "PRUNED", params={"epochs": planned}, space=space, reports=[0.0])
    saved = gather(study).pruning
    assert (saved.planned_by, saved.steps_saved) == ("epochs", 9 + 5)


def test_with_a_fidelity_steps_are_those_of_the_highest_rung(study, add):
    def climb(value, state, *rungs):
        params = {"epochs": rungs[-1]}  # a paused one's too, once the study is over
        attrs = {RUNGS_KEY: {str(rung): [value, 2.0 * rung] for rung in rungs}}
        reports, seconds = [value] * rungs[-1], 2.0 * rungs[-1]
        add(study, value, state, params=params, space=space, reports=reports, seconds=seconds, system_attrs=attrs)

    space = {"epochs": optuna.distributions.IntDistribution(1, 8)}
    climb(0.5, "COMPLETE", 3)  # the baseline
    climb(0.9, "COMPLETE", 1, 2, 4)
    climb(0.8, "COMPLETE", 1, 2, 4)
    climb(0.95, "COMPLETE", 1, 2)  # better than all of the highest rung
    climb(0.1, "PRUNED", 1)
    climb(0.2, "PRUNED", 1, 2)
    saved = gather(study).pruning
    assert (saved.planned_by, saved.climbed) == (None, True)
    assert (saved.trials, saved.steps_saved, saved.seconds_saved) == (2, 3 + 2, 10)


def test_what_needs_more_memory_than_there_is_was_not_pruned(study, add):
    add(study, 1.0, reports=[0.0] * 5)
    lacking = create_trial(state=TrialState.PRUNED)
    lacking.set_constraint(MEMORY_CONSTRAINT, 1.0)
    study.add_trial(lacking)
    assert gather(study).pruning is None
    add(study, 0.0, "PRUNED", reports=[0.0], system_attrs={"constraints": [1.0]})  # one of a constraint of the author's own was
    assert gather(study).pruning.trials == 1
    both = create_trial(state=TrialState.PRUNED, constraints={"size": 1.0, MEMORY_CONSTRAINT: -1.0})
    study.add_trial(both)
    assert gather(study).pruning.trials == 2


def test_workers_and_idle_time(facts, ask):
    line = facts.timeline
    rows = ask(SPANS)
    assert (line.lanes, line.named) == (2, True)
    wall = 74 - 0  # a trial still runs, and began when the last thing was heard of
    assert line.wall_s == wall
    assert line.busy_s == pytest.approx(sum(row[3] for row in rows), abs=1e-3)
    assert line.idle_s == pytest.approx(len(rows) * wall - line.busy_s)


def test_time_between_two_launches_is_not_idle(study, add):
    for pid, start in ((1, 0), (2, 1000)):
        add(study, 1.0, start=start, user_attrs={OWNER_KEY: {"pid": pid, "worker": 0}})
        add(study, 1.0, start=start + 15, user_attrs={OWNER_KEY: {"pid": pid, "worker": 0}})
    line = gather(study).timeline
    assert (line.wall_s, line.busy_s, line.idle_s) == (50, 40, 10)


def test_trials_that_took_no_time_leave_their_lane_idle(study, add):
    for start in (0, 40):
        add(study, 0.5, start=start, seconds=0.0)
    line = gather(study).timeline
    assert (line.busy_s, line.idle_s, line.idle_share) == (0, 40, 1)


def test_machines_that_work_at_the_same_time_are_one_session(study, add):
    """Driver 1 with two workers; 2 joins, and 3 when 1 has ended; 4 is a launch of the next day."""
    trials = [(1, 0, 0), (1, 1, 0), (2, 0, 5), (1, 0, 10), (2, 0, 15), (3, 0, 21), (2, 0, 25), (4, 1, 1000)]
    for pid, worker, start in trials:
        add(study, 1.0, start=start, user_attrs={OWNER_KEY: {"pid": pid, "worker": worker}})
    line = gather(study).timeline
    assert [span.lane for span in line.spans] == [0, 1, 2, 0, 2, 0, 2, 1]
    assert (line.lanes, line.wall_s, line.busy_s, line.idle_s) == (3, 35 + 10, 80, 2 * 20 + 30 + 10 + 10 - 80)
    assert sorted(line.ended_s.items()) == list(enumerate([10, 10, 15, 20, 25, 31, 35, 45]))


def test_a_wall_clock_that_was_set_back_makes_no_one_session_of_two_launches(two_launches):
    line = gather(two_launches).timeline
    assert [span.lane for span in line.spans] == [0] * 5
    assert (line.lanes, line.wall_s, line.busy_s, line.idle_s) == (1, 40, 25, 15)
    assert sorted(line.ended_s.items()) == list(enumerate([5, 15, 25, 30, 40]))
    trials, dates = two_launches.trials, dict(origin(two_launches, None))
    assert dates["first trial began"] == trials[0].datetime_start.isoformat(" ", "minutes")
    assert dates["last trial ended"] == trials[-1].datetime_complete.isoformat(" ", "minutes")


def test_with_a_fidelity_all_legs_of_a_trial_are_time_of_it(study, add):
    """One worker without a pause: trial 0 climbs to the top, trial 1 is paused at once, trial 2 is on its second leg."""
    of_a_driver = {OWNER_KEY: {"pid": 1, "worker": 0}}
    for state, start, legs in (("COMPLETE", 30, [10, 20, 40]), ("WAITING", 70, [10]), ("RUNNING", 90, [10])):
        rungs = {RUNGS_KEY: {str(2**level): [0.5, leg] for level, leg in enumerate(legs)}}
        attrs = {**of_a_driver, **({RAN_KEY: sum(legs)} if state == "COMPLETE" else {})}
        value = 0.5 if state == "COMPLETE" else None
        add(study, value, state, start=start, seconds=legs[-1], user_attrs=attrs, system_attrs=rungs)
    line = gather(study).timeline
    assert (line.wall_s, line.busy_s, line.idle_s) == (90, 90, 0)
    assert [span.seconds for span in line.spans] == [40, 10, 0]
    assert line.ended_s[0] == 70
    assert dict(origin(study, None))["first trial began"] == START.isoformat(" ", "minutes")
    running = rows_of(study, study.trials)[2].seconds
    assert running == pytest.approx(10 + time.time() - study.trials[2].datetime_start.timestamp(), abs=5)


def test_trials_of_plain_optuna_get_lanes_without_overlap(study, add):
    for start in (0, 5, 10, 12, 15):
        add(study, 1.0, start=start)
    line = gather(study).timeline
    assert [span.lane for span in line.spans] == [0, 1, 0, 2, 1]
    assert (line.lanes, line.named) == (3, False)


def test_failures_by_reason(facts):
    found = facts.failures
    assert [(failure.reason, failure.numbers) for failure in found] == [("<b>no memory</b>", (8, 9)), (NO_REASON, (10,))]
    assert found[0].traceback == "File 'x', line 8"


def test_importances_find_what_matters(facts):
    [found] = facts.importances
    assert found.ranking()[0] == "rate"
    assert sum(found.fanova.values()) + found.together() == pytest.approx(1)
    assert found.fanova["rate"] > 0.5
    assert sum(found.ped_anova.values()) == pytest.approx(1)
    assert found.trials == 6


def test_what_matters_only_together_is_not_taken_for_what_matters_alone(study, add):
    space = dict.fromkeys("ab", optuna.distributions.CategoricalDistribution([0, 1]))
    for at in range(40):
        a, b = at % 2, at // 2 % 2
        add(study, float(a ^ b), params={"a": a, "b": b}, space=space)
    [found] = gather(study).importances
    assert sum(found.fanova.values()) < 0.3
    assert found.together() > 0.7
    assert re.search(r"The rest, \d+%, several explain together, or luck does\.", render(study))


def test_a_parameter_that_not_every_trial_has(study, add):
    for at in range(20):
        params = {"rate": 0.01 * (at + 1), **({"kind": "ab"[at % 4 // 2]} if at % 2 else {})}
        add(study, float(at), params=params)
    [found] = gather(study).importances
    assert set(found.fanova) == {"rate"}
    assert set(found.ped_anova) == {"rate", "kind"}


@pytest.mark.parametrize("values", [(1.0,), (1.0, 1.0)])
def test_importances_that_cannot_be_had(study, add, values):
    for value in values:
        add(study, value)
    assert gather(study).importances == (None,)


@pytest.mark.parametrize("retry", [{"user_attrs": {RETRY_KEY: 1}}, {"failed_trial": 1, "retry_history": [1, 2]}])
def test_a_baseline_of_plain_optuna_is_the_retry_that_completed(study, add, retry):
    """As `RetryHeartbeatStaleTrialCallback` enqueues it, with what was given."""
    user_attrs, given = retry.pop("user_attrs", {}), {"fixed_params": {"rate": 0.1}}
    add(study, 0.9)
    add(study, state="FAIL", system_attrs=given)
    add(study, 0.8, system_attrs=given)
    assert gather(study).baseline.number == 1
    for state, value in (("FAIL", None), ("COMPLETE", 0.7), ("FAIL", None)):
        add(study, value, state, user_attrs=user_attrs, system_attrs={**given, **retry})
    assert (gather(study).baseline.number, gather(study).gain()) == (4, pytest.approx(0.2))


def test_the_baseline_of_a_study_file_is_its_first_enqueued_config(study, add):
    first = {"rate": 0.1}
    file = {"objective": "a:b", "directions": ["maximize"], "seed": 0, "space": {}, "settings": {}}
    study.set_user_attr(FILE_KEY, {**file, "enqueue": [first, {"rate": 0.2}]})
    add(study, state="FAIL", user_attrs={QUEUED_KEY: first})
    add(study, 1.0, user_attrs={QUEUED_KEY: {"rate": 0.2}})
    assert gather(study).baseline.number == 0
    add(study, 1.0, user_attrs={QUEUED_KEY: first, RETRY_KEY: 0})
    assert gather(study).baseline.number == 2
    study.set_user_attr(FILE_KEY, {**file, "enqueue": []})
    assert gather(study).baseline is None, "points of a grid are queued too, and are no baseline"


def test_infeasible_and_infinite_trials_are_not_the_best(study, add):
    add(study, 9.0, system_attrs={"constraints": [1.0]})
    add(study, float("inf"))
    add(study, 1.0, system_attrs={"constraints": [-1.0]})
    assert [trial.number for trial in gather(study).ranked] == [2]


def test_several_directions(add):
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials([optuna.trial.create_trial(values=values) for values in ((1, 1), (2, 2), (1, 2))])
    facts = gather(study)
    assert [trial.number for trial in facts.best] == [trial.number for trial in facts.top] == [0, 1]
    assert [metric.name for metric in facts.metrics] == ["value_0", "value_1"]
    assert facts.gain() is None


def test_nothing_has_ended(study, add):
    with pytest.raises(StudyError, match=r'study "own": must have a finished trial; got none\. Run search launch first\.'):
        gather(study)
    study.enqueue_trial({})
    with pytest.raises(StudyError, match=r"got 1 unfinished\. Run search launch first\."):
        gather(study)
    add(study, state="RUNNING")
    with pytest.raises(StudyError, match=r"got 2 unfinished\. Wait for the first one\."):
        gather(study)
