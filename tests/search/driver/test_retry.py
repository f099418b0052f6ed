"""What becomes of a trial that is given back: what its next try gets of it, and what stays on record of it."""

from datetime import timedelta

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from search.driver import retry
from search.driver.ask import TrialSource
from search.driver.ownership import Owner
from search.driver.recording import record
from search.driver.retry import fail, requeue, retry_lost
from search.records.attributes import (
    BEAT_KEY,
    CLOCK_KEY,
    CONFIG_KEY,
    FAILURE_KEY,
    OWNER_KEY,
    PROVENANCE_KEY,
    QUEUED_KEY,
    RAN_KEY,
    RETRIES_KEY,
    RETRY_KEY,
    SEED_KEY,
    SHOWN_SEED,
    TRACEBACK_KEY,
    config_of,
    provenance_of,
    seed_of,
    shown_attrs,
    without_records,
)
from search.records.rungs import RUNGS_KEY, Rung, as_attr, reports_made, rungs_of
from search.records.saving import save
from search.storage.folders import artifacts_of
from search.storage.open import close, create_study
from search.study_file.load import load
from search.workers.protocol import Artifact, Constraint, UserAttr

SPACE = {"x": FloatDistribution(0, 1)}
ELSEWHERE, GONE = Owner("elsewhere", 1, 1.0), Owner("elsewhere", 2, 1.0)


@pytest.fixture
def study():
    return optuna.create_study()


def begin(study, owner=None, **attrs):
    trial = study.ask(fixed_distributions=SPACE)
    for key, value in attrs.items():
        trial.set_user_attr(key, value)
    if owner is not None:
        study._storage.set_trial_system_attr(trial._trial_id, OWNER_KEY, owner)
    return trial


@pytest.mark.parametrize(("is_shared", "lost"), [(True, [0, 2]), (False, [0, 1, 2])])
def test_what_another_machine_runs_is_left_to_it_where_it_may_share_the_study(study, monkeypatch, is_shared, lost):
    """But for the driver in whose place this one came, and for what this process began itself, in an earlier launch."""
    monkeypatch.setattr(retry, "shared", lambda _: study._storage if is_shared else None)
    for owner in (GONE.as_attr(0), ELSEWHERE.as_attr(0), Owner.current().as_attr(0), None):
        begin(study, owner)
    assert retry_lost(study, GONE) == lost
    assert [trial.number for trial in study.trials if trial.state is TrialState.FAIL] == lost
    assert len(study.get_trials(states=(TrialState.WAITING,))) == len(lost)
    assert retry_lost(study, GONE, take_over=True) == [3], "which no driver of search began"


def test_a_lost_trial_ran_until_its_driver_last_showed_life_and_one_that_is_given_back_until_now(study):
    for _ in range(2):
        trial = begin(study, {**ELSEWHERE.as_attr(0), CLOCK_KEY: 100.0})
        study._storage.set_trial_system_attr(trial._trial_id, BEAT_KEY, 105.0)
    requeue(study, 1, "interrupted")
    retry_lost(study)
    assert [trial.user_attrs.get(RAN_KEY) for trial in study.trials[:2]] == [5.0, None]


def test_a_retry_that_is_lost_is_tried_again_as_the_first_one_was(study):
    begin(study, **{SEED_KEY: 5, QUEUED_KEY: {"x": 0.5}})
    for number in range(3):
        requeue(study, number, "killed")
        study.ask(fixed_distributions=SPACE)
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3 + ["RUNNING"]
    assert {trial.params["x"] for trial in study.trials} == {study.trials[0].params["x"]}
    expected = {SEED_KEY: 5, QUEUED_KEY: {"x": 0.5}, RETRY_KEY: 0}
    assert [trial.user_attrs for trial in study.trials[1:]] == [{**expected, FAILURE_KEY: "killed"}] * 2 + [expected]


def test_only_a_try_that_may_have_been_the_configs_own_fault_is_counted(study):
    begin(study)
    for number, blamed in enumerate((False, True, False, True)):
        requeue(study, number, "killed", blamed=blamed)
        study.ask(fixed_distributions=SPACE)
    assert [trial.user_attrs.get(RETRIES_KEY) for trial in study.trials] == [None, None, 1, 1, 2]


def test_what_is_kept_apart_because_it_is_long_goes_on_to_the_next_try(study):
    trial = begin(study)
    queued = {"x": 0.5, "note": "x" * 300}
    study._storage.set_trial_system_attr(trial._trial_id, QUEUED_KEY, queued)
    requeue(study, 0, "killed")
    assert study.trials[1].system_attrs[QUEUED_KEY] == queued


def test_a_trial_that_was_lost_while_it_was_drawn_keeps_what_it_was_given(study):
    study.enqueue_trial({"x": 0.25, "y": 0.75})
    study.ask().suggest_float("x", 0, 1)
    requeue(study, 0, "killed")
    assert study.trials[1].system_attrs["fixed_params"] == {"x": 0.25, "y": 0.75}
    again = study.ask(fixed_distributions=SPACE)
    again.suggest_float("z", 0, 1)
    requeue(study, 1, "killed")
    assert study.trials[2].system_attrs["fixed_params"] == {"x": 0.25, "y": 0.75, "z": again.params["z"]}


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_retry_has_the_attributes_that_its_trial_was_enqueued_with_and_none_that_it_set_itself(write, url):
    study = create_study(url, "demo", ["maximize"], [])
    given = {"start": "mine", "weights": "x" * 300}
    study.enqueue_trial({"x": 0.5}, user_attrs=given)
    source = TrialSource(study, load(write()))
    for number in range(3):
        trial = source.ask({})
        assert (trial.number, shown_attrs(trial)) == (number, {**given, SHOWN_SEED: seed_of(trial)}), (
            "also the retry of a retry"
        )
        said = {"start": "resolved", "begun": True, CONFIG_KEY: {"x": 0.5}}
        record(trial, [UserAttr(number, key, value) for key, value in said.items()], (), None)
        requeue(study, number, "killed")
    assert without_records(study.trials[0].user_attrs) == {**given, "start": "resolved", "begun": True}
    close(study)


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
@pytest.mark.server
def test_attributes_as_long_as_a_server_takes_them_go_on_to_the_next_try(write, request, server):
    """Optuna's column of their names has 512 characters; MySQL's of their values 64 kB, which these are together alone."""
    study = create_study(request.getfixturevalue(server).new_database(), "demo", ["maximize"], [])
    given = {"k" * 512: 1, "a": "x" * 40_000, "b": "y" * 40_000}
    study.enqueue_trial({"x": 0.5}, user_attrs=given)
    source = TrialSource(study, load(write()))
    for number in range(2):
        assert without_records(source.ask({}).user_attrs) == given
        requeue(study, number, "killed")
    close(study)


def test_a_trial_that_has_ended_is_left_as_it_is(study):
    study.tell(begin(study), 1.0)
    requeue(study, 0, "killed")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]


def test_an_owner_that_ends_its_trial_in_this_very_moment_is_no_error(study, monkeypatch):
    def ended(*_args, **_options):
        raise UpdateFinishedTrialError

    begin(study)
    monkeypatch.setattr(retry, "fail", ended)
    requeue(study, 0, "killed")


def climbed(study, owner):
    """Has a study a trial that has climbed two rungs, in 30 seconds, and is on its way to the third since noon."""
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params={"x": 0.5, "epochs": 8},
            distributions={**SPACE, "epochs": IntDistribution(2, 8)},
            intermediate_values={0: 1.0, 1: 2.0, 2: 3.0},
            user_attrs={SEED_KEY: 5},
            system_attrs={RUNGS_KEY: as_attr({2: Rung(2.0, 10.0), 4: Rung(3.0, 20.0)}), OWNER_KEY: owner, BEAT_KEY: 105.0},
        )
    )


def test_a_trial_that_has_climbed_rungs_goes_on_from_there_and_its_time_counts_once():
    study = create_study("sqlite:///demo.db", "demo", ["minimize"], [])
    climbed(study, {**Owner.current().as_attr(0), CLOCK_KEY: 100.0})
    requeue(study, 0, "killed", lost=True)
    lost, again = study.trials
    assert (lost.state, lost.user_attrs[RAN_KEY]) == (TrialState.FAIL, 35.0), "until the last sign of life"
    assert lost.datetime_complete - lost.datetime_start == timedelta(seconds=5), "which are those of the last leg"
    assert (again.state, again.params, again.user_attrs) == (TrialState.WAITING, lost.params, {SEED_KEY: 5, RETRY_KEY: 0})
    assert rungs_of(again) == {2: Rung(2.0, 0.0), 4: Rung(3.0, 0.0)}
    assert (again.intermediate_values, reports_made(again)) == ({0: 1.0, 1: 2.0, 2: 3.0}, 0)
    close(study)


def test_a_trial_that_goes_on_from_a_rung_has_all_that_it_has_said(tmp_path):
    study = create_study("sqlite:///demo.db", "demo", ["minimize"], [])
    climbed(study, Owner.current().as_attr(0))
    trial = optuna.Trial(study, study.trials[0]._trial_id)
    said = {"parameters": 1234, PROVENANCE_KEY: {"notice": "x" * 300}, CONFIG_KEY: {"layers": 2}}
    leg = [UserAttr(0, key, value) for key, value in said.items()]
    record(trial, [*leg, Constraint(0, "size", 1.5), Artifact(0, "curve.txt", b"1 2 3")], (), tmp_path)
    save(study._storage, trial._trial_id, FAILURE_KEY, "none of its own")
    requeue(study, 0, "killed", "Traceback", blamed=True)
    again = study.trials[1]
    assert again.constraints == {"size": 1.5}
    assert {**without_records(again.user_attrs), CONFIG_KEY: config_of(again), PROVENANCE_KEY: provenance_of(again)} == said
    assert [(meta.filename, path.read_bytes()) for meta, path in artifacts_of(study, again, tmp_path)] == [
        ("curve.txt", b"1 2 3")
    ]
    assert again.user_attrs.keys() - said.keys() == {SEED_KEY, RETRY_KEY, RETRIES_KEY}
    assert not {OWNER_KEY, BEAT_KEY, FAILURE_KEY, TRACEBACK_KEY} & again.system_attrs.keys()
    close(study)


def test_of_a_long_traceback_the_end_is_kept(study):
    begin(study)
    fail(study, 0, "KeyError: 1", "first line\n" + "x" * 30_000 + "\nKeyError: 1")
    kept = study.trials[0].system_attrs[TRACEBACK_KEY]
    assert (len(kept), kept[-12:]) == (30_000, "\nKeyError: 1")
    assert RAN_KEY not in study.trials[0].user_attrs
