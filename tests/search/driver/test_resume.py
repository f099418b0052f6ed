import dataclasses
import os
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState

from search.driver import processes
from search.driver.ask import TrialSource
from search.driver.compatibility import check_same, describe
from search.driver.launch import launch
from search.driver.ownership import Owner, claim, release
from search.driver.retry import retry_lost
from search.errors import ObjectiveError, StudyError
from search.optuna_internals import storage_of
from search.records.attributes import DRIVER_KEY, FILE_KEY, OWNER_KEY, RETRY_KEY, SEED_KEY, owner_of
from search.storage.open import close, create_study
from search.study_file.load import load


@pytest.fixture
def study():
    return optuna.create_study(study_name="demo", direction="maximize")


def dead():
    """An owner whose process id lives, but is another process by now."""
    return dataclasses.replace(Owner.current(), started=1.0)


def parent():
    """An owner that lives and is not this process."""
    return dataclasses.replace(Owner.current(), pid=os.getppid(), started=processes.started(os.getppid()))


def test_owners():
    assert Owner.current().may_live()
    assert parent().may_live()
    assert not dead().may_live()
    assert not dataclasses.replace(Owner.current(), pid=2**22 + 1).may_live()
    assert Owner.from_attr(dataclasses.asdict(dead())) == dead()
    sound = {"host": "h", "pid": 1, "started": 1.0}
    assert Owner.from_attr(sound) == Owner("h", 1, 1.0)
    for attr in (None, "me", {}, *({**sound, **other} for other in ({"host": 1}, {"pid": -1}, {"pid": 2**31}, {"boot": 7}))):
        assert Owner.from_attr(attr) is None


@pytest.mark.parametrize(
    ("changed", "may_live", "is_here"),
    [
        ({}, False, True),
        ({"host": "renamed"}, False, True),  # by a network, say: it is this boot all the same
        ({"boot": "earlier"}, False, False),  # this machine, before it was started anew
        ({"boot": "", "space": "", "installed": ""}, False, False),
        ({"boot": "other", "host": "elsewhere"}, True, False),
        ({"boot": "other", "installed": "other"}, True, False),  # another machine of the same name
        ({"space": "1.1"}, True, False),  # a container on this machine, whose processes have ids of their own
        ({"space": "4026531836.2"}, True, False),  # with a clock of its own
        ({"boot": "other", "space": "1.1"}, True, False),  # a container of the same name, here or elsewhere
    ],
)
def test_who_may_live(changed, may_live, is_here, monkeypatch):
    here = processes.Machine("now", "4026531836.1", "this")
    monkeypatch.setattr(processes, "here", lambda: here)
    owner = dataclasses.replace(dead(), **changed)
    assert (owner.may_live(), owner.is_here) == (may_live, is_here)


def test_a_container_cannot_tell_its_own_past_from_a_namesake(monkeypatch):
    monkeypatch.setattr(processes, "here", lambda: processes.Machine("now", "2.1", "this"))
    for space in ("2.1", "4026531836.1"):
        assert dataclasses.replace(dead(), boot="earlier", space=space).may_live()
    assert not dead().may_live(), "in the same container it can"


def test_where_no_boot_has_a_name_that_of_the_host_has_to_do(monkeypatch):
    monkeypatch.setattr(processes, "here", processes.Machine)
    owner = dataclasses.replace(Owner.current(), started=1.0)
    assert (owner.is_here, owner.may_live()) == (True, False)
    elsewhere = dataclasses.replace(owner, host="elsewhere")
    assert (elsewhere.is_here, elsewhere.may_live()) == (False, True)


def test_a_process_that_nobody_collects_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    began = processes.started(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_running(child.pid, began)
    child.communicate()
    assert not processes.is_running(child.pid, began)


def test_one_driver_at_a_time(study):
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(parent()))
    with pytest.raises(StudyError, match=f"got one at work, process {os.getppid()} on .* End it first \\(kill"):
        claim(study)
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(dead()))
    assert claim(study) == Owner.current()
    assert claim(study) == Owner.current(), "it is ours"
    release(study)
    assert study.user_attrs[DRIVER_KEY] is None


def test_who_has_taken_a_study_over_keeps_it_when_the_former_driver_lets_go(study):
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(parent()))
    release(study)
    assert study.user_attrs[DRIVER_KEY] == dataclasses.asdict(parent())


def test_a_living_driver_here_is_never_taken_over(study):
    study.set_user_attr(DRIVER_KEY, dataclasses.asdict(parent()))
    with pytest.raises(StudyError, match="End it first"):
        claim(study, take_over=True)


def test_a_driver_elsewhere_is_taken_over_only_when_told(study):
    study.set_user_attr(DRIVER_KEY, {"host": "elsewhere", "pid": 1, "started": 1.0})
    with pytest.raises(StudyError, match="--take-over"):
        claim(study)
    claim(study, take_over=True)


def test_lost_trials_are_taken_up_again_and_living_ones_left_alone(study):
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for owner in (dead(), parent(), None):
        trial = study.ask(fixed_distributions=space)
        trial.set_user_attr(SEED_KEY, trial.number)
        if owner:
            trial.set_user_attr(OWNER_KEY, dataclasses.asdict(owner))
    assert retry_lost(study) == [0]
    assert retry_lost(study, take_over=True) == [2]
    assert [trial.state.name for trial in study.trials] == ["FAIL", "RUNNING", "FAIL", "WAITING", "WAITING"]
    for lost, retry in ((0, 3), (2, 4)):
        attrs = study.trials[retry].user_attrs
        assert (attrs[RETRY_KEY], attrs[SEED_KEY]) == (lost, lost)
        assert study.trials[retry].system_attrs["fixed_params"] == study.trials[lost].params


def test_a_kill_between_retry_and_failure_loses_and_doubles_nothing(study):
    trial = study.ask(fixed_distributions={"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.set_user_attr(OWNER_KEY, dataclasses.asdict(dead()))
    study.enqueue_trial(trial.params, user_attrs={RETRY_KEY: 0})
    assert retry_lost(study) == [0]
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_what_a_notebook_runs_is_left_to_it(write, url, read_study, capsys):
    """It keeps no launch from ending, also where nothing has counted and the space is another now, and it can be told."""
    spec = load(write(study={"trials": "1"}))
    begun = create_study(url, "demo", ["maximize"], ["score"])
    check_same(begun, load(write("before.toml", space={"y": '{ type = "float", low = 0.0, high = 1.0 }'})))
    close(begun)
    notebook = read_study(url=url)
    theirs = notebook.ask(fixed_distributions={"x": optuna.distributions.FloatDistribution(-10, 10)})
    assert launch(spec, url=url).retried == ()
    assert (
        "1 trial runs that no driver of search began. Left alone: --take-over takes up what was lost."
        in capsys.readouterr().out
    )
    assert [trial.state.name for trial in notebook.trials] == ["RUNNING", "COMPLETE"]
    notebook.tell(theirs, 5.0)
    other = notebook.ask(fixed_distributions={"x": optuna.distributions.FloatDistribution(-10, 10)})
    assert launch(spec, url=url, trials=3, take_over=True, quiet=True).retried == (other.number,)
    assert [trial.state.name for trial in notebook.trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_what_a_driver_begins_has_its_owner_from_the_start(write, url, monkeypatch):
    """However soon it is killed: also a config that waited."""
    study = create_study(url, "demo", ["maximize"], ["score"])
    source = TrialSource(study, load(write()))
    monkeypatch.setattr(TrialSource, "_drawn", lambda *_: None)
    source.ask({OWNER_KEY: Owner.current().as_attr(0)})
    study.enqueue_trial({"x": 1.0})
    storage = storage_of(study)
    monkeypatch.setattr(storage, "set_trial_state_values", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception, match="killed"):
        source.ask({OWNER_KEY: Owner.current().as_attr(0)})
    assert [Owner.from_attr(owner_of(trial)) for trial in study.trials] == [Owner.current()] * 2
    close(study)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"space": {"x": '{ type = "float", low = 0.0, high = 10.0 }'}}, "space.x: must stay as it was"),
        (
            {"space": {"y": '{ type = "int", low = 0, high = 1 }'}},
            'space.y: must stay as it was in study "demo", nothing; got { type',
        ),
        (
            {"objective": {"steps": "5"}},
            'objective.steps: must stay as it was in study "demo", 4; got 5. Undo the change, or add --as NAME',
        ),
        ({"objective": {"steps": None}}, 'objective.steps: must stay as it was in study "demo", 4; got nothing.'),
        (
            {"study": {"direction": '"minimize"'}},
            'study.directions: must stay as it was in study "demo", ["maximize"]; got ["minimize"]',
        ),
        ({"study": {"seed": "1"}}, 'study.seed: must stay as it was in study "demo", 0; got 1.'),
        ({"study": {"objective": '"objectives:Parabola"'}}, "study.objective: must stay as it was"),
    ],
)
def test_a_file_that_asks_for_another_study_is_refused(study, write, change, expected):
    base = {"objective": {"steps": "4"}}
    check_same(study, load(write(**base)))
    study.add_trial(optuna.trial.create_trial(value=1.0))
    tables = {**base, **{name: {**base.get(name, {}), **table} for name, table in change.items()}}
    with pytest.raises(StudyError) as caught:
        check_same(study, load(write(**tables)))
    assert str(caught.value).startswith(f"demo.toml: {expected}")


def test_a_mistake_can_be_mended_while_no_trial_has_finished(study, write):
    check_same(study, load(write(objective={"stpes": "4"})))
    check_same(study, load(write(space={"x": '{ type = "float", low = 0.0, high = 1.0 }'}, objective={"steps": "4"})))
    study.tell(study.ask(), state=TrialState.FAIL)
    check_same(study, load(write(space={"x": '{ type = "float", low = 0.0, high = 1.0 }'}, objective={"steps": "5"})))
    check_same(study, load(write(study={"seed": "1"})))
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED))
    with pytest.raises(StudyError, match=r"study\.seed: must stay as it was"):
        check_same(study, load(write()))


@pytest.mark.parametrize("storage", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_study_without_a_trial_that_counts_takes_any_other_space(write, storage, capsys):
    """Also one that Optuna would not add to the failed trials, and with a config waiting that the new one does not hold."""
    tables = {"study": {"objective": '"objectives:misbehave"', "storage": f'"{storage}"', "max_failures": "1"}}
    bad = {"objective": {"mode": '"raise"', "bad": "[0]"}}
    with pytest.raises(ObjectiveError):
        launch(load(write(**tables, **bad)), quiet=True)
    space = {"x": '{ type = "categorical", choices = [1.0, 3.0] }'}
    launched = launch(
        load(write(**tables, space=space, sampler={"name": '"random"'}, objective={"mode": '"none"', "bad": "[]"}))
    )
    assert {trial.params["x"] for trial in launched.study.trials} == {1.0, 3.0}
    assert {trial.state for trial in launched.study.trials} == {TrialState.COMPLETE}
    assert "Study demo begins anew: its space is another, and no trial of it counted." in capsys.readouterr().out


def test_how_the_search_goes_about_it_may_change(study, write):
    check_same(study, load(write()))
    study.add_trial(optuna.trial.create_trial(value=1.0))
    spec = load(write(study={"trials": "99", "timeout": "5"}, sampler={"name": '"random"'}, enqueue="[[enqueue]]\nx = 1"))
    check_same(study, spec)
    assert study.user_attrs[FILE_KEY] == describe(spec)


def test_a_study_of_plain_optuna_is_taken_on_if_its_direction_fits(write):
    with pytest.raises(StudyError, match=r"study\.directions"):
        check_same(optuna.create_study(direction="minimize"), load(write()))


def test_secrets_of_the_environment_stay_out(study, write, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    check_same(study, load(write(study={"environment": '["TOKEN"]'}, objective={"token": '"${TOKEN}"'})))
    assert "secret" not in str(study.user_attrs)
