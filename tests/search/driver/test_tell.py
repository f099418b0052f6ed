import contextlib
import errno
import importlib.util
import itertools
import os
import re
import warnings
from dataclasses import replace

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState, create_trial

from search.driver.ask import TrialSource
from search.driver.initial_design import initial_design
from search.driver.legs import leg_of
from search.driver.sampler_view import with_same_constraints
from search.driver.tell import Verdict, judge, tell, tell_infeasible
from search.errors import StorageError
from search.optuna_internals import storage_of
from search.records.attributes import FAILURE_KEY, RAN_KEY, RETRIES_KEY, TRACEBACK_KEY, is_infeasible
from search.records.constraints import MEMORY_CONSTRAINT
from search.records.rungs import Rung, is_paused, rungs_of
from search.results.ranking import best_trials
from search.storage.cache import OwnTrialsStorage
from search.storage.journal import Journal
from search.storage.open import close, create_study, open_study, read_back
from search.study_file import samplers
from search.study_file.fidelity import Fidelity
from search.study_file.load import load
from search.workers.protocol import Died, Outcome

RAISED = Outcome(0, "failed", reason="ValueError")
OUT_OF_MEMORY = Outcome(0, "failed", reason="MemoryError", out_of_memory=True)
DEVICE_FAILED = Outcome(0, "failed", reason="XlaRuntimeError: CUDA_ERROR_ILLEGAL_ADDRESS", device_failed=True)


@pytest.mark.parametrize(
    ("outcome", "died", "fresh", "retries", "expected"),
    [
        (RAISED, False, True, 0, "failed"),
        (RAISED, False, False, 0, "failed"),
        (RAISED, True, True, 0, "retry"),
        (RAISED, True, True, 1, "failed"),
        (OUT_OF_MEMORY, False, True, 0, "infeasible"),
        (OUT_OF_MEMORY, False, False, 0, "retry"),
        (OUT_OF_MEMORY, False, False, 1, "infeasible"),
        (OUT_OF_MEMORY, True, True, 0, "retry"),
        (OUT_OF_MEMORY, True, True, 1, "infeasible"),
        (DEVICE_FAILED, False, True, 0, "retry"),
        (DEVICE_FAILED, False, False, 0, "retry"),
        (DEVICE_FAILED, False, True, 1, "failed"),
        (DEVICE_FAILED, False, False, 1, "failed"),
    ],
)
def test_what_becomes_of_a_trial(outcome, died, fresh, retries, expected):
    assert judge(outcome, died=died, fresh=fresh, retries=retries, max_retries=1) == expected


def drive(name, trials, directions, seed=0):
    """A study whose values depend on y, and whose configs with x > 0 need more memory than there is."""
    study = optuna.create_study(directions=directions)
    space = {name: optuna.distributions.FloatDistribution(-10, 10) for name in ("x", "y")}
    design = list(initial_design(space, {}, samplers.startup_trials(name, {}), seed))
    for number in range(trials):
        designed = number < len(design)
        study.sampler = (
            samplers.fixed(design[number]) if designed else samplers.make(name, {}, study_seed=seed, trial_index=number)
        )
        trial = study.ask(fixed_distributions=space)
        if trial.params["x"] > 0:
            tell_infeasible(trial, OUT_OF_MEMORY, name)
        else:
            values = tuple(trial.params["y"] if direction == "maximize" else -trial.params["y"] for direction in directions)
            study.tell(trial, values)
    return study


@pytest.mark.parametrize(("name", "trials"), [("tpe", 60), ("nsgaii", 200)])
def test_a_sampler_that_knows_constraints_keeps_away(name, trials):
    study = drive(name, trials, ["maximize"])
    late = study.trials[trials // 2 :]
    assert sum(is_infeasible(trial) for trial in late) < len(late) / 3, "half of them would be, if it did not know"
    assert study.best_trial.params["x"] <= 0
    assert best_trials(study) == [study.best_trial]


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "random", "qmc"])
def test_with_several_directions_too(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = drive(name, 120, ["maximize", "minimize"])
    assert any(is_infeasible(trial) for trial in study.trials)
    assert not any(is_infeasible(trial) for trial in study.best_trials)


def test_an_infeasible_trial_says_why():
    study = optuna.create_study(direction="minimize")
    tell_infeasible(study.ask(), Outcome(0, "failed", reason="MemoryError", traceback="Traceback ..."), "tpe")
    trial = study.trials[0]
    assert (trial.state, trial.constraints) == (TrialState.PRUNED, {MEMORY_CONSTRAINT: 1.0})
    assert trial.user_attrs == {FAILURE_KEY: "MemoryError", TRACEBACK_KEY: "Traceback ..."}


def test_a_study_of_infeasible_trials_has_no_best_one():
    study = optuna.create_study(direction="minimize")
    tell_infeasible(study.ask(), OUT_OF_MEMORY, "nsgaii")
    assert study.trials[0].values == [float("inf")]
    assert best_trials(study) == []


def test_gp_gets_the_same_constraints_of_all_trials():
    study = optuna.create_study(direction="minimize")
    study.tell(study.ask(), 1.0)
    tell_infeasible(study.ask(), OUT_OF_MEMORY, "gp")
    assert [trial.constraints for trial in study.trials] == [{}, {MEMORY_CONSTRAINT: 1.0}]
    shown = with_same_constraints(study.trials)
    assert [trial.constraints for trial in shown] == [{MEMORY_CONSTRAINT: -1.0}, {MEMORY_CONSTRAINT: 1.0}]
    assert [trial.state for trial in shown] == [TrialState.COMPLETE] * 2
    assert study.best_trial.number == 0


@pytest.mark.filterwarnings("ignore:Clip non-finite values")
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("first", ["gp", "tpe"])
def test_gp_keeps_away_whichever_sampler_has_left_results(write, first):
    study = optuna.create_study(direction="maximize")
    space = dict.fromkeys(("x", "y"), '{ type = "float", low = -10.0, high = 10.0 }')
    for name, count in ((first, 12), ("gp", 28)):
        source = TrialSource(study, load(write(space=space, sampler={"name": f'"{name}"'})))
        for _ in range(count):
            trial = source.ask({})
            if trial.params["x"] > 0:
                tell_infeasible(trial, OUT_OF_MEMORY, name)
            else:
                study.tell(trial, trial.params["y"])
    assert sum(is_infeasible(trial) for trial in study.trials[-14:]) < 5, "half of them would be, if it did not know"


@pytest.fixture
def spec(write):
    return load(write(study={"max_retries": "1"}))


def test_what_counts_and_what_nobody_tries_again():
    states = ["complete", "pruned", "infeasible", "failed", "retry", "interrupted", "lost", "paused"]
    verdicts = [Verdict(0, state) for state in states]
    assert [verdict.state for verdict in verdicts if verdict.counts] == states[:3]
    assert [verdict.state for verdict in verdicts if verdict.is_final] == states[:4]


@pytest.mark.parametrize(
    ("state", "stored"), [("complete", "COMPLETE"), ("pruned", "PRUNED"), ("interrupted", "FAIL"), ("failed", "FAIL")]
)
@pytest.mark.parametrize("ran_s", [None, 7.0])
def test_each_end_is_told_with_the_time_where_the_wall_clock_does_not_tell_it(spec, state, stored, ran_s):
    study = optuna.create_study()
    outcome = Outcome(0, state, (1.0,) if state == "complete" else (), reason="no disk" if state == "failed" else "")
    verdict = tell(study.ask(), outcome, spec, death=None, fresh=True, ran_s=ran_s)
    assert verdict == Verdict(0, state, outcome.values, outcome.reason)
    assert (study.trials[0].state.name, study.trials[0].user_attrs.get(RAN_KEY)) == (stored, ran_s)
    assert [trial.state.name for trial in study.trials[1:]] == (["WAITING"] if state == "interrupted" else [])


@pytest.mark.parametrize("odd", [3, "text", ["x"], [None], {"a": 1}])
def test_constraints_that_are_none_are_not_looked_at(spec, odd):
    """Another program has enqueued the trial with them."""
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={"constraints": odd}))
    verdict = tell(study.ask(), Outcome(0, "complete", (1.0,)), spec, death=None, fresh=True)
    assert (verdict.state, verdict.breaks, study.trials[0].values) == ("complete", False, [1.0])


@pytest.mark.parametrize("node_lost", [True, False])
def test_a_trial_that_went_with_its_node_is_tried_again_as_often_as_that_happens(spec, node_lost):
    """It cannot be to blame; another one that took its worker along may be, and is tried again as often as the file says."""
    study, died = optuna.create_study(), Died("the worker is gone", node_lost=node_lost)
    outcome = Outcome(0, "failed", reason=died.reason)
    states = [tell(study.ask(), outcome, spec, death=died, fresh=True).state for _ in range(4)]
    assert states == (["retry"] * 4 if node_lost else ["retry", "failed"] * 2)
    retries = [trial.user_attrs.get(RETRIES_KEY) for trial in study.trials]
    assert retries == ([None] * 5 if node_lost else [None, 1] * 2)


@pytest.mark.parametrize("state", ["complete", "pruned", "failed"])
def test_a_trial_that_another_driver_has_ended_is_lost(spec, state):
    study = optuna.create_study()
    trial = study.ask()
    study.tell(trial.number, state=TrialState.FAIL)
    outcome = Outcome(0, state, (1.0,) if state == "complete" else ())
    verdict = tell(trial, outcome, spec, death=None, fresh=True)
    assert (verdict.state, study.trials[0].state, study.trials[0].user_attrs) == ("lost", TrialState.FAIL, {})


def test_a_trial_is_paused_on_each_rung_but_the_last(spec):
    study = optuna.create_study()
    study.enqueue_trial({})
    fidelity = Fidelity("epochs", optuna.distributions.IntDistribution(1, 2))
    states = []
    for ran_s in (10.0, 25.0):
        trial = study.ask()
        outcome = Outcome(0, "complete", (ran_s,))
        states.append(tell(trial, outcome, spec, death=None, fresh=True, ran_s=ran_s, leg=leg_of(trial, fidelity)))
        assert is_paused(study.trials[0]) == (ran_s == 10.0)
    assert states == [Verdict(0, "paused", (10.0,)), Verdict(0, "complete", (25.0,))]
    [ended] = study.trials
    assert (ended.state, ended.value, ended.params) == (TrialState.COMPLETE, 25.0, {"epochs": 2})
    assert (rungs_of(ended), ended.user_attrs[RAN_KEY]) == ({1: Rung(10.0, 10.0), 2: Rung(25.0, 15.0)}, 25.0)


@contextlib.contextmanager
def full_after(study, writes):
    """Fills the disk once a study's storage has written so often."""
    left = itertools.count(writes, -1)

    def write(*_):
        if next(left) <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage = storage_of(study)
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(storage, Journal):
            append = storage._backend.append_logs
            patch.setattr(storage._backend, "append_logs", lambda logs: (write(), append(logs)))
            yield
        else:
            assert isinstance(storage, OwnTrialsStorage)
            sqlalchemy.event.listen(storage.backend.engine, "commit", write)
            yield
            sqlalchemy.event.remove(storage.backend.engine, "commit", write)


def told(study):
    [trial] = study.trials
    return trial.state, trial.values, trial.params, rungs_of(trial), trial.user_attrs.get(RAN_KEY)


@pytest.mark.parametrize("kind", ["sqlite:///{}.db", "journal:///{}.log"])
@pytest.mark.parametrize(
    ("sampler", "state", "legs"),
    [("gp", "complete", 0), ("tpe", "pruned", 0), ("tpe", "complete", 1), ("tpe", "complete", 2)],
    ids=["to its end", "pruned", "to a rung", "to the last rung"],
)
def test_what_comes_in_on_a_full_disk_is_saved_whichever_write_fails(spec, kind, sampler, state, legs):
    spec = replace(spec, sampler=replace(spec.sampler, name=sampler))  # gp would be loaded with PyTorch alone
    fidelity = Fidelity("epochs", optuna.distributions.IntDistribution(1, 2)) if legs else None

    def run(study, writes):
        study.enqueue_trial({})
        for leg in range(max(legs, 1)):
            trial, is_last = study.ask(), leg == max(legs, 1) - 1
            outcome = Outcome(0, state, (0.5 + leg,) if state == "complete" else ())
            with full_after(study, writes) if is_last and writes is not None else contextlib.nullcontext():
                tell(trial, outcome, spec, death=None, fresh=True, ran_s=7.0 + leg, leg=leg_of(trial, fidelity))

    undisturbed = optuna.create_study()
    run(undisturbed, None)
    for writes in itertools.count():
        url = kind.format(f"after-{writes}")
        study = create_study(url, "demo", ["minimize"], [])
        readback = read_back(study, url)
        try:
            with readback.watching():
                run(study, writes)
        except StorageError as error:
            saved = open_study(re.search("--storage '([^']*)'", str(error)).group(1), "demo")
            assert told(saved) == told(undisturbed), f"write {writes + 1} failed"
        else:
            assert told(study) == told(undisturbed)
            break
        finally:
            close(study)
    assert writes > 1


@pytest.mark.parametrize(("direction", "worst"), [("minimize", float("inf")), ("maximize", float("-inf"))])
@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii", "gp"])
def test_where_a_sampler_learns_from_complete_trials_alone_what_cannot_run_is_the_worst(direction, worst, sampler):
    study = optuna.create_study(direction=direction)
    tell_infeasible(study.ask(), OUT_OF_MEMORY, sampler)
    [trial] = study.trials
    assert (trial.state, trial.values, is_infeasible(trial)) == (TrialState.COMPLETE, [worst], True)
