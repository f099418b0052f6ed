"""Pausing and promoting: who goes on, what is recorded of it, and how a study with a fidelity ends."""

import copy
import datetime
import itertools
import math
import sys
from collections import Counter
from statistics import mean, stdev

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers._gp.sampler import _get_constraint_vals_and_feasibility
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search.driver import ask, sampler_view
from search.driver.ask import TrialSource
from search.driver.compatibility import check_same
from search.driver.fingerprint_check import delete_if_unused
from search.driver.legs import leg_of, settle
from search.driver.promotion import Board, expected_improvement, middle_and_spread, pace
from search.driver.retry import requeue
from search.driver.sampler_view import SamplerView, with_same_constraints
from search.driver.tell import tell
from search.errors import ObjectiveError
from search.records.attributes import CONFIG_KEY, FINGERPRINT_KEY, RETRY_KEY, WARM_KEY, config_of
from search.records.constraints import MEMORY_CONSTRAINT
from search.records.durations import duration_of
from search.records.rungs import RUNGS_KEY, Rung, is_paused, rungs_of
from search.storage.open import close, create_study, open_study
from search.study_file.fidelity import Fidelity
from search.study_file.load import load
from search.workers.protocol import Outcome
from tests.search.objectives import straight
from tests.search.servers import SERVERS

EPOCHS = '{ type = "int", low = 1, high = 16, fidelity = true }'
TABLES = {"study": {"objective": '"objectives:Climbing"', "trials": "16"}, "space": {"epochs": EPOCHS}}
FIDELITY = Fidelity("epochs", IntDistribution(1, 16))


def climber(*values, state=TrialState.WAITING, reports=(), seconds=1.0):
    """A trial that has these values at its first rungs, and so many seconds at each."""
    return create_trial(
        state=state,
        value=values[-1] if state is TrialState.COMPLETE else None,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        intermediate_values=dict(enumerate(reports)),
        system_attrs={RUNGS_KEY: {str(rung): [value, seconds] for rung, value in zip(FIDELITY.rungs, values, strict=False)}},
    )


def numbered(*trials):
    for number, trial in enumerate(trials):
        trial.number = number
    return trials


def board(*trials):
    return Board.of(numbered(*trials), FIDELITY, StudyDirection.MAXIMIZE)


PIONEER = climber(0.0, 0.0, 0.0, 0.0, 0.0, state=TrialState.COMPLETE)


def promoted(*trials, may_begin=True, pioneer=PIONEER, by_time=False):
    """The trial that goes on, beside one that has been at the top and is no good."""
    trials = numbered(*trials, *([pioneer] if pioneer else []))
    chosen = Board.of(trials, FIDELITY, StudyDirection.MAXIMIZE, may_begin=may_begin, by_time=by_time).choose()
    return None if chosen is None else chosen.number


def test_a_study_with_a_fidelity_ends_with_nothing_paused(drive):
    study = drive(**TABLES)
    assert study.user_attrs["reason"] == "budget"
    assert len(study.trials) == 16
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in study.trials:
        rungs = rungs_of(trial)
        assert trial.params["epochs"] == max(rungs) == len(trial.intermediate_values)
        assert list(rungs) == [1, 2, 4, 8, 16][: len(rungs)]
        assert trial.value == rungs[max(rungs)].value
        assert duration_of(trial) == pytest.approx(sum(rung.seconds for rung in rungs.values()), abs=0.01)
    assert sum(len(trial.intermediate_values) for trial in study.trials) < 16 * 16 / 2


def test_what_was_paused_has_the_values_of_one_run_straight_through(drive):
    study = drive(workers=2, **TABLES)
    climbed = [trial for trial in study.trials if len(rungs_of(trial)) > 2]
    assert climbed
    for trial in climbed:
        assert trial.value == straight(trial)
        assert {"from_0", "from_1", "from_2"} <= trial.user_attrs.keys(), "each leg went on from the one before"


def test_the_same_file_gives_the_same_study(drive, results):
    first, second = drive(**TABLES), drive(**TABLES)
    assert results(first) == results(second)


def test_nothing_is_left_on_the_disk(drive, folder):
    drive(**TABLES)
    assert not (folder / "kept").exists()


def test_a_config_enqueued_with_its_epochs_runs_straight_to_them(drive):
    study = drive(enqueue="[[enqueue]]\nx = 2\nepochs = 5", **TABLES)
    assert study.trials[0].params == {"x": 2.0, "epochs": 5}
    assert study.trials[0].state is TrialState.COMPLETE
    assert len(study.trials[0].intermediate_values) == 5


def test_a_trial_that_was_drawn_belongs_to_the_study_as_it_is_stored(drive):
    study = drive(trials=8, **TABLES)
    trial = TrialSource(study, load("demo.toml")).ask({})
    assert trial.study.trials == study.trials


def test_an_interrupted_study_keeps_what_is_paused_and_goes_on_with_it(drive, monkeypatch):
    whole = drive(**TABLES)
    study = drive(trials=8, timeout_s=1e-9, **TABLES)
    assert study.trials == []
    with monkeypatch.context() as patch:
        patch.setattr("search.driver.driver.settle", lambda *_: [])  # as ^C has it
        for budget in (3, 8):
            drive(study, trials=budget, **TABLES)
            assert sum(map(is_paused, study.trials)) > 0
    drive(study, **TABLES)
    assert not any(map(is_paused, study.trials))
    assert len(study.trials) == 16
    assert [trial.params["x"] for trial in study.trials[:6]] == [trial.params["x"] for trial in whole.trials[:6]]


@pytest.mark.parametrize(
    ("reason", "keys", "joined", "ends"),
    [
        ("timeout", {"timeout": "1e-9"}, False, True),
        ("timeout", {"timeout": "1e-9"}, True, False),
        ("reports", {"max_reports": "1"}, True, True),
        ("device_time", {"max_device_time": "1e-9"}, True, True),
        ("patience", {"patience": "1"}, True, True),
    ],
)
def test_a_budget_of_the_study_ends_what_is_paused_and_so_does_the_time_of_a_launch(drive, reason, keys, joined, ends):
    """The time of a driver that joined is its own, and others may be at work, though none of them runs a trial just now."""
    study = optuna.create_study(direction="maximize")
    for value, state in ((-9.0, TrialState.COMPLETE), (-9.0, TrialState.COMPLETE), (-9.5, TrialState.WAITING)):
        study.add_trial(climber(value, state=state, reports=[value]))
    drive(study, options={"waits": not joined}, study={**TABLES["study"], **keys}, space=TABLES["space"])
    assert study.user_attrs["reason"] == reason
    assert len(study.trials) == 3
    assert is_paused(study.trials[2]) != ends


def test_a_lost_leg_is_run_again_from_its_rung(drive):
    study = drive(trials=1, **TABLES)
    study = optuna.create_study(direction="maximize")
    paused = climber(-9.0, -8.0, reports=(-9.0, -8.0))
    paused.set_user_attr("search:seed", 7)
    study.add_trial(paused)
    source = TrialSource(study, load("demo.toml"))
    trial = source.ask({}, lambda _: "budget")
    assert trial.number == 0, "no new config, and this one is the best"
    trial.report(-7.0, 2)
    requeue(study, 0, "killed")
    lost, again = study.trials
    assert lost.state is TrialState.FAIL
    assert again.state is TrialState.WAITING
    assert again.user_attrs[RETRY_KEY] == 0
    assert list(rungs_of(again)) == [1, 2]
    assert again.intermediate_values == {0: -9.0, 1: -8.0, 2: -7.0}, "its checkpoint may lie behind these, and report no more"
    assert again.params == lost.params


def test_the_budget_counts_every_leg_and_nothing_twice(drive):
    keys = {**TABLES["study"], "trials": "500", "max_device_time": "1"}
    study = drive(study=keys, space=TABLES["space"], objective={"pause": "0.02"})
    assert study.user_attrs["reason"] == "device_time"
    assert 0.9 < sum(duration_of(trial) for trial in study.trials) < 1.9


def test_once_all_configs_have_begun_the_other_budgets_still_hold(drive):
    def made(study):
        return sum(len(trial.intermediate_values) for trial in study.trials)

    most = made(drive(**TABLES)) - 8  # the last to go on goes to the highest rung
    study = drive(study={**TABLES["study"], "max_reports": str(most)}, space=TABLES["space"])
    assert study.user_attrs["reason"] == "reports"
    assert len(study.trials) == 16
    assert most <= made(study) < most + 8, "a leg that has begun goes to its rung"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("objectives:Parabola", r"space\.epochs\.fidelity: the objective must be able to go on from a checkpoint"),
        ("objectives:Climbing", "space.steps: only epochs can be paused; got steps."),
    ],
)
def test_an_objective_that_cannot_go_on_is_refused_before_the_first_trial(drive, objective, message):
    name = "steps" if "Climbing" in objective else "epochs"
    with pytest.raises(ObjectiveError, match=message):
        drive(study={"objective": f'"{objective}"'}, space={name: EPOCHS})


def test_a_study_stays_with_or_without_a_fidelity(write, search):
    write(**TABLES)
    search("launch", "demo.toml", "--trials", 1, "--quiet")
    write(study=TABLES["study"], space={"epochs": EPOCHS.replace("true", "false")})
    assert "space.epochs: must stay as it was" in search("launch", "demo.toml", "--quiet", code=1).stderr


def test_the_first_trial_climbs_to_the_top_at_once():
    assert promoted(pioneer=None) is None
    assert promoted(climber(0.5), pioneer=None) == 0
    assert promoted(climber(0.9), climber(0.5, 0.6), pioneer=None) == 1
    assert promoted(climber(0.9), climber(0.5, 0.6, 0.7, 0.8), pioneer=None) == 1
    runs = climber(0.5, 0.6, state=TrialState.RUNNING)
    assert promoted(runs, climber(0.1), pioneer=None) is None, "one that is ahead is on its way"
    assert promoted(runs, climber(0.9, 0.8, 0.7), pioneer=None) is None, "it will stand there too"
    assert promoted(runs, climber(0.9, 0.8, 0.7, 0.6), pioneer=None) == 1


def test_the_better_half_of_a_rung_goes_on_first_where_nobody_knows_what_that_is_worth():
    assert promoted(climber(0.5)) == 0
    assert promoted(climber(0.5), climber(0.4)) == 0
    assert promoted(climber(0.5), climber(0.6, 0.7)) == 1, "its half is there already, and another rung is open"


def test_of_equal_ones_the_first_goes_on():
    assert promoted(climber(0.5), climber(0.5)) == 0
    assert promoted(climber(0.5), climber(0.5), pioneer=None) == 0


def test_in_the_end_the_best_climbs_to_the_top_beside_a_config_that_went_straight():
    """As a baseline that was enqueued with all its epochs: half of one trial is none."""
    baseline = create_trial(value=0.9, system_attrs={RUNGS_KEY: {"16": [0.9, 1.0]}})
    assert promoted(climber(0.5), pioneer=baseline, may_begin=False) == 0
    assert promoted(climber(0.5, 0.6), climber(0.4), pioneer=baseline, may_begin=False) == 0
    assert promoted(climber(0.5, 0.6), climber(0.4), pioneer=baseline) is None, "others may begin"


def test_who_promises_more_for_its_cost_goes_first():
    rising = [climber(0.5, 0.6), climber(0.52, 0.63)]
    assert promoted(*rising, climber(0.6), climber(0.61), climber(0.1), climber(0.1), climber(0.1)) == 1, "to see"
    flat = [
        climber(*[0.7] * 5, state=TrialState.COMPLETE),
        climber(0.6, 0.6),
        climber(0.69),
        *(climber(score) for score in (0.3, 0.4, 0.5, 0.9, 0.2)),
    ]
    assert promoted(*flat) is None, "a new config may be better than any; going on has gained nothing"


def test_what_a_trial_promises_is_for_what_is_still_to_be_paid():
    known = [climber(*(start + rung for rung in range(5)), state=TrialState.COMPLETE) for start in (4.0, 4.0)]
    made = board(*known, climber(6.0), climber(6.0, 7.0), climber(6.0), climber(6.0))
    assert made._best == 8.0
    assert made._rate(2, 0) == (9.0 - 8.0) / (8 - 1), "of 7, 8, 9 and 10, at 2, 4, 8 and 16 epochs"
    assert made._rate(3, 1) == (9.0 - 8.0) / (8 - 2)
    assert made._rate_of_new() == (9.0 - 8.0) / 8, "the middle of the first values is 6"


def test_a_new_config_promises_what_its_first_rung_may_bring_where_no_rung_has_brought_more():
    made = board(PIONEER, climber(1.0), climber(2.0), climber(3.0))
    assert made._rate_of_new() == expected_improvement(1.5, math.sqrt(2 * (0.5**2 + 1.5**2) / 3), 3.0)


def test_of_one_value_nothing_is_expected_so_another_begins():
    assert board(climber(0.5))._rate_of_new() == math.inf
    two = board(climber(0.5), climber(0.4))
    assert two._rate_of_new() == pytest.approx(expected_improvement(0.45, 0.05 * math.sqrt(2), 0.5))


def test_what_a_new_config_promises_is_of_recent_ones_and_for_what_its_first_rung_costs():
    old, recent = [climber(0.9)] * 30, [climber(0.1 + 0.01 * at) for at in range(30)]
    expected = expected_improvement(*middle_and_spread([0.1 + 0.01 * at for at in range(30)]), 0.9)
    assert board(*map(copy.copy, old), *recent)._rate_of_new() == expected
    from_four = Fidelity("epochs", IntDistribution(4, 16))
    assert (
        Board(from_four, ({0: 0.5, 1: 0.4}, {}, {}), {})._rate_of_new() == board(climber(0.5), climber(0.4))._rate_of_new() / 4
    )


def test_what_is_uncertain_at_each_rung_adds_up_as_variances_do():
    made = board(climber(0.0, 0.1, 0.2), climber(0.0, 0.3, 0.8), climber(0.5))
    (first, first_spread), (second, second_spread) = made._gains[1:3]
    assert (first, second) == (pytest.approx(0.2), pytest.approx(0.3))
    near = expected_improvement(0.5 + first, first_spread, 0.8)
    far = expected_improvement(0.5 + first + second, math.hypot(first_spread, second_spread), 0.8) / 3
    assert made._rate(2, 0) == pytest.approx(max(near, far))
    assert far > near


def test_two_that_gained_nothing_tell_that_there_is_nothing_to_gain():
    two = [climber(*values, state=TrialState.COMPLETE) for values in ([0.5, 0.4, 0.4, 0.4, 0.4], [0.6] * 5)]
    assert board(*two)._gains[1] == pytest.approx((-0.05, 0.05 * math.sqrt(2)))
    assert board(two[0])._gains[1] is None


def test_where_time_counts_a_new_config_takes_as_long_as_others_took():
    trials = [climber(value, seconds=seconds) for value, seconds in ((0.5, 10.0), (0.4, 8.0), (0.3, 90.0))]
    per_unit = board(*trials)._rate_of_new()
    by_time = Board.of(numbered(*trials, climber()), FIDELITY, StudyDirection.MAXIMIZE, by_time=True)
    assert by_time.paces == {0: 10.0, 1: 8.0, 2: 90.0}, "the last one has not been at a rung yet"
    assert by_time._rate_of_new() == per_unit / 10.0


def test_where_time_counts_who_is_slow_must_promise_more():
    known = [climber(0.1, *[value] * 4, state=TrialState.COMPLETE) for value in (0.2, 0.4)]
    slow, fast, others = climber(0.5, seconds=20.0), climber(0.49), [climber(0.0) for _ in range(4)]
    assert promoted(*known, slow, fast, *others, may_begin=False) == 2
    assert promoted(*known, slow, fast, *others, may_begin=False, by_time=True) == 3


def test_where_time_counts_a_quick_new_config_goes_before_a_slow_old_one():
    known = [climber(0.1, *[value] * 4, state=TrialState.COMPLETE, seconds=0.1) for value in (0.3, 0.5)]
    quick = [climber(value, seconds=0.1) for value in (0.0, 0.05, 0.09)]
    slow = climber(0.6, seconds=1000.0)
    assert promoted(*known, slow, *quick) == 2
    assert promoted(*known, slow, *quick, by_time=True) is None


def test_the_pace_of_a_trial_is_that_of_its_last_leg():
    assert pace({2: Rung(0.5, 30.0)}) == 15.0
    assert pace({2: Rung(0.5, 30.0), 4: Rung(0.5, 1.0)}) == 0.5
    assert pace({1: Rung(0.5, 0.0)}) > 0


def test_configs_that_fail_say_nothing_of_how_far_a_good_one_reaches():
    known = [climber(low, *[high] * 4, state=TrialState.COMPLETE) for low, high in ((0.80, 0.82), (0.81, 0.85))]
    paused = [climber(value) for value in (0.79, 0.78, 0.785, 0.82)]
    failed = [climber(0.1) for _ in range(3)]
    assert promoted(*known, *paused, pioneer=None) == promoted(*known, *paused, *failed, pioneer=None) == 5
    assert middle_and_spread([0.1, 0.1, 0.8, 0.81, 0.82]) == pytest.approx((0.8, math.sqrt(2 * (0.01**2 + 0.02**2) / 4)))
    assert middle_and_spread([-2.0]) == (-2.0, 2.0)
    symmetric = [1.0, 2.0, 4.0, 6.0, 7.0]
    assert middle_and_spread(symmetric) == pytest.approx((mean(symmetric), stdev(symmetric)))


def test_what_one_trial_gained_is_expected_of_the_next_and_where_it_gained_nothing_another_goes_to_see():
    alone = climber(0.5, 0.6, 0.8, 0.8, 0.8, state=TrialState.COMPLETE)
    assert board(alone)._gains[1:] == (pytest.approx((0.1, 0.1)), pytest.approx((0.2, 0.2)), None, None)
    others = [climber(*(start + 0.1 * rung for rung in range(3))) for start in (0.1, 0.3, 0.2)]
    assert promoted(*others, pioneer=alone) == 1, "to the fourth rung"


@pytest.mark.parametrize("why", ["failed", "infeasible", "of a warm start"])
def test_trials_that_failed_or_are_infeasible_or_of_another_study_count_for_nothing(why):
    """Those of a warm start have the rungs that they climbed there; their values may mean something else."""
    without = climber(0.9, 0.9, 0.9, 0.9, 0.9, state=TrialState.FAIL if why == "failed" else TrialState.COMPLETE)
    if why == "infeasible":
        without.set_constraint(MEMORY_CONSTRAINT, 1.0)
    if why == "of a warm start":
        without.set_user_attr(WARM_KEY, {"study": "old", "trial": 0, "compared": False})
    assert board(without).scores == ({},) * len(FIDELITY.rungs)
    assert promoted(without, climber(0.5), climber(0.4)) == 1


WORST = -sys.float_info.max


@pytest.mark.parametrize(
    "trials",
    [
        [climber(0.5), climber(0.6, 0.7), climber(0.4, 0.5, 0.6), climber(0.1), climber(0.2)],
        [climber(-9.0, -1.0), climber(-8.0), climber(-7.0, -2.0), climber(-7.5, -7.0, -5.0), climber(-8.5)],
    ],
)
def test_values_of_any_size_are_promoted_alike(trials):
    for may_begin, best in itertools.product((True, False), (None, 0.65)):
        results = [create_trial(value=best)] if best else []
        chosen = promoted(*trials, *results, may_begin=may_begin)
        for scale in (1e-300, 1e150, 1e305):
            scaled = [climber(*(scale * rung.value for rung in rungs_of(trial).values())) for trial in trials]
            results = [create_trial(value=scale * best)] if best else []
            assert promoted(*scaled, *results, may_begin=may_begin) == chosen


@pytest.mark.parametrize("sign", [1, -1])
def test_a_study_in_which_trials_diverge_goes_on(sign):
    best = climber(*(sign * value for value in (0.1, 0.2, 0.2, 0.2, 0.2)), state=TrialState.COMPLETE)
    diverged = [climber(WORST), climber(WORST), climber(0.1 * sign, WORST), climber(WORST, -WORST), climber(WORST, WORST, 0.1)]
    promoted(*diverged, pioneer=best)
    assert promoted(*diverged[:3], climber(0.1 * sign), pioneer=best, may_begin=False) == 3
    assert promoted(*[climber(WORST) for _ in range(4)], pioneer=None) == 0


def test_where_less_is_better_the_board_is_that_of_the_mirrored_values():
    def made(sign, direction):
        climbed = [climber(*(sign * value for value in each)) for each in ((0.5,), (0.6, 0.7), (0.4, 0.5, 0.6), (0.1,))]
        trials = numbered(*climbed, create_trial(value=sign * 0.8), create_trial(value=sign * -0.9))
        found = Board.of(trials, FIDELITY, direction)
        return found.scores, found.complete, found.choose().number

    up, down = made(1, StudyDirection.MAXIMIZE), made(-1, StudyDirection.MINIMIZE)
    assert down == up
    assert (up[0][0], up[1]) == ({0: 0.5, 1: 0.6, 2: 0.4, 3: 0.1}, 0.8)


def test_an_infinite_value_of_another_program_is_not_one_to_beat():
    assert board(climber(0.5), create_trial(value=math.inf), create_trial(value=0.6))._best == 0.6
    assert board(climber(0.5), climber(0.4), create_trial(value=math.inf)).scores[0] == {0: 0.5, 1: 0.4}


def test_expected_improvement():
    assert expected_improvement(0.7, 0.0, 0.5) == pytest.approx(0.2)
    assert expected_improvement(0.4, 0.0, 0.5) == 0.0
    assert expected_improvement(0.5, 0.1, 0.5) == pytest.approx(0.1 / math.sqrt(2 * math.pi))


def test_a_sampler_sees_values_that_can_be_compared():
    whole = create_trial(
        value=0.3,
        params={"x": 0.1, "epochs": 5},
        distributions={"x": FloatDistribution(0.0, 1.0), "epochs": IntDistribution(1, 16)},
    )
    trials = [climber(0.5), climber(0.6, 0.7), climber(0.4, 0.5, 0.6), whole]
    for trial in trials[:3]:
        trial.datetime_start = datetime.datetime(2026, 1, 1)
    seen = SamplerView(FIDELITY, enough=2).of(trials)
    assert [trial.state.name for trial in seen] == ["PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [trial.value for trial in seen[1:]] == [0.7, 0.5, 0.3]
    assert seen[0].intermediate_values == {1: 0.5}
    assert all("epochs" not in trial.params for trial in seen)
    assert [duration_of(trial) for trial in seen[:3]] == [1.0, 2.0, 3.0], "some samplers weigh the time"
    assert trials[3].params == {"x": 0.1, "epochs": 5}, "what is in the storage is left as it is"
    assert [trial.value for trial in SamplerView(FIDELITY, enough=3).of(trials)[:3]] == [0.5, 0.6, 0.4]


@pytest.mark.parametrize(
    ("name", "option"), [("cmaes", "popsize"), ("nsgaii", "population_size"), ("nsgaiii", "population_size")]
)
def test_generations_follow_each_other_where_few_trials_of_one_climb(write, name, option):
    pytest.importorskip("cmaes" if name == "cmaes" else "optuna")
    numbers = dict.fromkeys("xyz", '{ type = "float", low = 0.0, high = 1.0 }')
    tables = {"sampler": {"name": f'"{name}"', option: "6"}, "space": {**numbers, **TABLES["space"]}}
    spec = load(write(**{**TABLES, **tables}))
    study = optuna.create_study(direction="maximize")
    source = TrialSource(study, spec)
    while len(study.get_trials(deepcopy=False)) < 60:
        trial = source.ask({})
        leg = leg_of(trial, spec.fidelity)
        value = -sum((trial.params[axis] - 0.3) ** 2 for axis in "xyz") + 0.01 * leg.target
        tell(
            trial, Outcome(trial.number, "complete", (value,)), spec, death=None, fresh=True, ran_s=leg.earlier_s + 1.0, leg=leg
        )
    generations = [number for trial in study.trials for key, number in trial.system_attrs.items() if key.endswith("generation")]
    assert max(generations) >= 60 // 6 - 2


def test_only_what_has_changed_is_looked_at_for_each_new_trial(write, monkeypatch):
    """Thousands of trials may be there, of which one or two have changed."""
    looked_at = Counter()
    for module, name in ((ask, "standing_of"), (sampler_view, "_seen")):
        made = getattr(module, name)
        monkeypatch.setattr(module, name, lambda trial, *rest, made=made: looked_at.update([made]) or made(trial, *rest))
    study = optuna.create_study(direction="maximize")
    source, runs = TrialSource(study, spec := load(write(**TABLES))), 0
    while len(study.get_trials(deepcopy=False)) < 60:
        trial = source.ask({})
        leg = leg_of(trial, spec.fidelity)
        outcome = Outcome(trial.number, "complete", (trial.params["x"],))
        tell(trial, outcome, spec, death=None, fresh=True, ran_s=leg.earlier_s + 1.0, leg=leg)
        runs += 1
    assert len(looked_at) == 2
    assert max(looked_at.values()) < 5 * runs, "at its beginning and its end, and where another rung counts"


def test_a_sampler_learns_nothing_from_the_rungs_of_a_trial_that_failed():
    """Where it was tried again, its config would count twice."""
    lost = climber(0.9, 0.9, state=TrialState.FAIL)
    seen = SamplerView(FIDELITY, enough=1).of([climber(0.5, 0.6), lost, climber(0.9, 0.9)])
    assert [(trial.state.name, trial.values) for trial in seen] == [("COMPLETE", [0.6]), ("FAIL", None), ("COMPLETE", [0.9])]


@pytest.mark.parametrize("constrained", [True, False])
def test_a_sampler_sees_the_same_constraints_of_all_results(constrained):
    """GPSampler refuses others; what is paused has none in the storage, nor has what a launch before has ended."""
    kept, broken = climber(0.5, 0.6, state=TrialState.COMPLETE), climber(0.5, 0.6, state=TrialState.COMPLETE)
    if constrained:
        kept.set_constraint(MEMORY_CONSTRAINT, -1.0)
        broken.set_constraint(MEMORY_CONSTRAINT, 1.0)
    paused, ended, lower = climber(0.6, 0.7), climber(0.4, 0.5, state=TrialState.COMPLETE), climber(0.5)
    seen = SamplerView(FIDELITY, enough=2).of([kept, broken, paused, ended, lower])
    assert [trial.state.name for trial in seen] == ["COMPLETE"] * 4 + ["PRUNED"]
    values = [-1.0, 1.0, -1.0, -1.0] if constrained else []
    assert [trial.constraints for trial in seen[:4]] == ([{MEMORY_CONSTRAINT: value} for value in values] or [{}] * 4)
    assert paused.constraints == ended.constraints == {}, "what is in the storage is left as it is"


def test_a_sampler_sees_constraints_that_some_results_have_not_set_as_kept():
    """As where memory ran out before the objective could say any, or where it says them now and then."""
    said = [
        {"size": 2.0, "latency": -3.0, MEMORY_CONSTRAINT: -1.0},
        {MEMORY_CONSTRAINT: 1.0},
        {},
        {"latency": 1.0, "size": 1.0},
    ]
    trials = [create_trial(value=0.0, constraints=constraints) for constraints in said]
    trials.append(create_trial(state=TrialState.PRUNED, constraints={"size": 1.0}))
    seen = with_same_constraints(trials)
    kept = {"latency": 0.0, MEMORY_CONSTRAINT: -1.0, "size": 0.0}
    assert [list(trial.constraints.items()) for trial in seen[:4]] == [list({**kept, **each}.items()) for each in said]
    assert [trial.constraints for trial in trials[:4]] == said, "what is in the storage is left as it is"
    assert seen[4] is trials[4]
    _get_constraint_vals_and_feasibility(None, list(seen[:4]))
    with pytest.raises(ValueError, match="number of constraints must be the same"):
        _get_constraint_vals_and_feasibility(None, trials[:4])
    assert with_same_constraints(trials[:1] * 3) == trials[:1] * 3


def breaking(amount, *values, state=TrialState.WAITING):
    trial = climber(*values, state=state)
    trial.set_constraint("size", amount)
    return trial


def test_a_trial_that_breaks_a_constraint_goes_on_last():
    feasible = breaking(-1.0, 0.1)
    assert promoted(breaking(1.0, 0.9), feasible, climber(0.05), may_begin=False) == 1
    assert promoted(breaking(1.0, 0.9), may_begin=False) is None, "beside one that has been at the top"
    assert promoted(breaking(1.0, 0.9), pioneer=None) is None, "no pioneer"
    assert promoted(breaking(1.0, 0.9), feasible, pioneer=None) == 1
    several = [breaking(3.0, 0.9), breaking(1.0, 0.1), breaking(2.0, 0.5), breaking(4.0, 0.5)]
    assert promoted(*several, pioneer=None, may_begin=False) == 1, "where the least is broken"
    several[1] = breaking(1.0, 0.1, 0.1)
    assert promoted(*several, pioneer=None, may_begin=False) == 2, "the better half, and no more"
    several[2] = breaking(2.0, 0.5, 0.6)
    assert promoted(*several, pioneer=None, may_begin=False) == 1, "to the next rung"
    running = climber(0.5, 0.5, state=TrialState.RUNNING)
    assert promoted(running, climber(0.1), breaking(1.0, 0.9), pioneer=None, may_begin=False) is None, "it may get to the top"
    first_leg, hopeless = climber(state=TrialState.RUNNING), breaking(1.0, 0.5, state=TrialState.RUNNING)
    assert promoted(first_leg, hopeless, breaking(0.5, 0.9), pioneer=None, may_begin=False) == 2
    lacking = climber(0.9, state=TrialState.PRUNED)
    lacking.set_constraint(MEMORY_CONSTRAINT, 0.5)
    assert promoted(lacking, breaking(1.0, 0.9), pioneer=None, may_begin=False) == 1


def test_the_value_of_a_trial_that_breaks_a_constraint_is_none_to_end_others_by():
    study = optuna.create_study(direction="maximize")
    for trial in (climber(0.6, 0.7), climber(0.8), breaking(1.0, 0.9), breaking(1.0, 0.1, 0.1), breaking(1.0, 0.5, 0.6, 0.9)):
        study.add_trial(trial)
    settle(study, FIDELITY)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"]
    assert study.best_trial.number == 1


@pytest.mark.parametrize(("top", "states"), [(2, ["PRUNED", "COMPLETE", "COMPLETE"]), (5, ["PRUNED", "PRUNED", "PRUNED"])])
def test_where_all_break_a_constraint_only_those_on_the_highest_rung_are_complete(top, states):
    study = optuna.create_study(direction="maximize")
    for trial in (breaking(1.0, 0.9), breaking(1.0, 0.1, 0.1), breaking(3.0, 0.2, 0.3)):
        study.add_trial(trial)
    if top == 5:  # the one that broke it least has been there
        study.add_trial(breaking(0.5, *[0.1] * top, state=TrialState.COMPLETE))
    settle(study, FIDELITY)
    assert [trial.state.name for trial in study.trials[:3]] == states


def test_a_study_of_plain_optuna_takes_what_is_paused_for_enqueued_and_what_is_enqueued_is_fine(drive):
    """As docs/fidelity.md says."""
    study = optuna.create_study(direction="maximize")
    study.add_trial(climber(0.1))
    study.enqueue_trial({"x": 7.0})
    taken = study.ask()
    assert (taken.number, taken.suggest_float("x", 0.0, 1.0)) == (0, 0.5)
    assert taken.suggest_int("epochs", 1, 16) == taken.params["epochs"]
    other = optuna.create_study(direction="maximize")
    other.enqueue_trial({"x": 7.0})
    drive(other, **{**TABLES, "study": {**TABLES["study"], "trials": "3"}})
    assert other.trials[0].params["x"] == 7.0
    assert rungs_of(other.trials[0])


def test_a_study_that_is_over_ends_its_paused_trials():
    study = optuna.create_study(direction="maximize")
    for trial in (climber(0.5), climber(0.6, 0.9), climber(0.6, 0.7, 0.8), climber(0.1, 0.2, 0.3)):
        study.add_trial(trial)
    settle(study, FIDELITY)
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [trial.value for trial in study.trials] == [0.5, 0.9, 0.8, 0.3]
    assert [trial.params["epochs"] for trial in study.trials] == [1, 2, 4, 4]
    assert settle(study, FIDELITY) == []


@pytest.mark.parametrize("apart", [True, False])
def test_a_config_that_was_said_on_the_way_to_a_rung_that_was_lost_names_the_one_before(apart):
    study = optuna.create_study(direction="maximize")
    trial = climber(0.6, 0.9)
    said = {"epochs": 4, "layers": 2}
    (trial.system_attrs if apart else trial.user_attrs)[CONFIG_KEY] = said
    study.add_trial(trial)
    settle(study, FIDELITY)
    [ended] = study.trials
    assert (ended.value, ended.params["epochs"], config_of(ended)) == (0.9, 2, {**said, "epochs": 2})


@pytest.mark.parametrize("sign", [1, -1])
def test_beside_a_trial_that_was_at_the_top_only_what_is_better_is_a_result(sign):
    study = create_study("sqlite:///demo.db", "demo", ["maximize" if sign > 0 else "minimize"], ["score"])
    climbed = [(0.1, 0.2, 0.3, 0.4, 0.5), (0.9,), (0.2, 0.5), (0.2, 0.4, 0.3), (0.3, 0.4, 0.45, 0.49)]
    for values in climbed:
        state = TrialState.COMPLETE if len(values) == len(FIDELITY.rungs) else TrialState.WAITING
        trial = climber(*(sign * value for value in values), state=state)
        trial.datetime_start = trial.datetime_start or datetime.datetime(2026, 1, 1)
        study.add_trial(trial)
    ended = settle(study, FIDELITY)
    assert [trial.number for trial in ended] == [1, 2, 3, 4]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert [duration_of(trial) for trial in ended] == [1.0, 2.0, 3.0, 4.0]
    assert {trial.datetime_complete - trial.datetime_start for trial in ended} == {datetime.timedelta(seconds=1)}, (
        "its last leg"
    )
    close(study)


def test_where_only_a_failed_trial_was_higher_the_next_ones_are_results():
    study = optuna.create_study(direction="maximize")
    for trial in (climber(0.5), climber(0.6, 0.7), climber(0.1, 0.2, 0.3, state=TrialState.FAIL)):
        study.add_trial(trial)
    settle(study, FIDELITY)
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE", "FAIL"]


def test_a_config_that_went_straight_is_one_to_beat():
    straight_to_five = create_trial(value=0.9, system_attrs={RUNGS_KEY: {"5": [0.9, 1.0]}})
    assert board(climber(0.5), straight_to_five)._best == 0.9


def test_a_study_whose_trials_are_all_paused_stays_with_its_file(write, search):
    study = create_study("sqlite:///demo.db", "demo", ["maximize"], ["score"])
    spec = load(write(**TABLES))
    check_same(study, spec)
    study.add_trial(climber(-9.0))
    study.set_user_attr(FINGERPRINT_KEY, {"data": "1"})
    delete_if_unused(study)
    assert study.user_attrs[FINGERPRINT_KEY] == {"data": "1"}, "its values depend on it"
    close(study)
    write(study=TABLES["study"], space={"x": '{ type = "int", low = 0, high = 1 }', "epochs": EPOCHS})
    assert "space.x: must stay as it was" in search("launch", "demo.toml", "--quiet", code=1).stderr
    study = open_study("sqlite:///demo.db", "demo")
    assert [is_paused(trial) for trial in study.trials] == [True]
    close(study)


def test_what_is_no_rung_is_not_read_as_one():
    trial = climber(0.5)
    for wrong in ("text", [1], {"a": [1, 2]}, {"1": 5}, {"1": [1]}, {"1": [float("nan"), 1]}, {"1": ["a", 1]}):
        trial.system_attrs[RUNGS_KEY] = wrong
        assert rungs_of(trial) == {}
        assert not is_paused(trial)
    trial.system_attrs[RUNGS_KEY] = {"4": [0.5, 2], "2": [0.25, -1.0]}
    assert list(rungs_of(trial).items()) == [(2, Rung(0.25, 0.0)), (4, Rung(0.5, 2.0))], "ascending"


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_worker_that_dies_between_two_rungs_changes_no_value(write, search, url):
    write(**TABLES, objective={"die": "3"})
    search("launch", "demo.toml", "--workers", 2, "--storage", url, "--quiet")
    check_a_death(url)


@pytest.mark.parametrize("server", SERVERS)
def test_a_trial_that_another_driver_takes_up_is_seen_to_run(request, write, server):
    url = request.getfixturevalue(server).new_database()
    spec = load(write(**TABLES))
    ours, theirs = (create_study(url, "demo", ["maximize"], ["score"]) for _ in range(2))
    mine = TrialSource(ours, spec)
    trial = mine.ask({})
    outcome = Outcome(trial.number, "complete", (0.5,))
    tell(trial, outcome, spec, death=None, fresh=True, ran_s=1.0, leg=leg_of(trial, spec.fidelity))
    assert is_paused(ours.trials[0])
    taken = TrialSource(theirs, spec).ask({})
    assert (taken.number, theirs.trials[0].state, ours.trials[0].state) == (0, TrialState.RUNNING, TrialState.RUNNING)
    assert mine.ask({}).number == 1
    for study in (ours, theirs):
        close(study)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_machines_that_joined_share_what_is_paused(write, start, request, server):
    url = request.getfixturevalue(server).new_database()
    write(**TABLES, objective={"die": "3", "pause": "0.02"})
    drivers = [start("launch", "demo.toml", "--storage", url, "--quiet")]
    drivers += [start("worker", "demo.toml", "--storage", url, "--quiet") for _ in range(2)]
    for driver in drivers:
        _, err = driver.communicate()
        assert (driver.returncode, err) == (0, "")
    check_a_death(url)


def check_a_death(url):
    """One trial was lost in its third leg, was paused again, and every value is that of a run straight through."""
    study = open_study(url, "demo")
    trials = study.trials
    close(study)
    [lost] = [trial for trial in trials if trial.state is TrialState.FAIL]
    again = next(trial for trial in trials if trial.user_attrs.get(RETRY_KEY) == lost.number)
    assert list(rungs_of(lost)) == list(rungs_of(again))[:2] == [1, 2]
    for trial in trials:
        if trial is not lost:
            assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            assert trial.value == straight(trial)
    assert sum(trial.state is not TrialState.FAIL for trial in trials) == 16
