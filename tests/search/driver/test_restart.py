"""What goes on with a study that begins anew, and that no kill loses it."""

import contextlib
import dataclasses
import itertools
import os
import shutil

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from search.driver import processes, restart
from search.driver.compatibility import check_same
from search.driver.launch import launch
from search.driver.ownership import Owner
from search.driver.restart import begin_anew
from search.errors import StudyError
from search.records.attributes import BUDGET_KEY, DRIVER_KEY, PORTFOLIO_KEY, QUEUED_KEY, RETRY_KEY
from search.storage.open import close, create_study
from search.study_file.load import load

FLOAT = {"x": '{ type = "float", low = 0.0, high = 9.0 }'}
INT = {"x": '{ type = "int", low = 0, high = 9 }'}
PORTFOLIO = {"studies": ["a", "b"], "configs": [{"x": 3}]}
GIVEN = [({"x": 2}, {"start": "mine"}), ({"x": 2}, {"start": "mine"}), ({"x": 0.5, "else": 1}, {}), ({}, {})]
URLS = ["sqlite:///demo.db", "journal:///demo.log"]


def failed(spec, url):
    """A study that has failed, with configs of a notebook and attributes of others; not closed."""
    study = create_study(url, spec.name, spec.directions, spec.metrics)
    check_same(study, spec)
    study.add_trial(create_trial(state=TrialState.FAIL, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 9)}))
    for params, attrs in GIVEN:
        study.enqueue_trial(params, user_attrs=attrs)
    study.enqueue_trial({"x": 0.5}, user_attrs={RETRY_KEY: 0})
    study.enqueue_trial({"x": 0.5}, user_attrs={QUEUED_KEY: {"x": 0.5}})
    for key, value in {"dashboard:note": "mine", PORTFOLIO_KEY: PORTFOLIO, BUDGET_KEY: 3}.items():
        study.set_user_attr(key, value)
    for key, value in {"dashboard:note_ver": 1, "dashboard:1:note_ver": 1, "search:token": "former"}.items():
        study._storage.set_study_system_attr(study._study_id, key, value)
    return study


def has_all(study):
    trials = study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.WAITING}
    assert [(trial.system_attrs["fixed_params"], trial.user_attrs) for trial in trials] == GIVEN
    assert study.user_attrs == {"dashboard:note": "mine", PORTFOLIO_KEY: PORTFOLIO, DRIVER_KEY: None}
    attrs = study._storage.get_study_system_attrs(study._study_id)
    assert attrs == {"dashboard:note_ver": 1, "study:metric_names": ["score"]}
    assert optuna.get_all_study_names(study._storage) == ["demo"]


@pytest.mark.parametrize("url", URLS)
def test_what_nobody_has_tried_and_what_is_not_ours_goes_on_with_the_new_study(write, url):
    before = failed(load(write(space=FLOAT)), url)
    study, line = begin_anew(before, load(write(space=INT)), url)
    has_all(study)
    assert line == (
        "Study demo begins anew: its space is another, and no trial of it counted. "
        "4 enqueued configs are kept; the new space does not hold 1 of them, which will fail."
    )
    close(study)


class Killed(BaseException):
    pass


def wrap_steps(patch, wrap):
    """Wraps each step of what writes."""
    for name in ("add_trial", "set_user_attr"):
        patch.setattr(optuna.Study, name, wrap(getattr(optuna.Study, name)))
    for name in ("create_study", "delete_study"):
        patch.setattr(optuna, name, wrap(getattr(optuna, name)))


@pytest.mark.parametrize("url", [pytest.param(URLS[0], marks=pytest.mark.slow), URLS[1]])
def test_a_kill_at_any_step_loses_nothing(write, url, monkeypatch, folder):
    close(failed(load(write(space=FLOAT)), url))
    spec = load(write(space=INT))
    file = folder / url.rpartition("/")[2]
    shutil.copy(file, folder / "before")
    taken = 0

    def counted(function):
        def call(*args, **options):
            nonlocal taken
            taken += 1
            if taken == step:
                raise Killed
            return function(*args, **options)

        return call

    for step in itertools.count(1):
        shutil.copy(folder / "before", file)
        study = create_study(url, spec.name, spec.directions, spec.metrics)
        taken = 0
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            wrap_steps(patch, counted)
            begin_anew(study, spec, url)
        close(study)
        if taken < step:
            break
        study = create_study(url, spec.name, spec.directions, spec.metrics)
        study, _ = begin_anew(study, spec, url)
        given = [(trial.system_attrs["fixed_params"], trial.user_attrs) for trial in study.get_trials()]
        assert all(each in given for each in GIVEN), step
        assert study.user_attrs == {"dashboard:note": "mine", PORTFOLIO_KEY: PORTFOLIO, DRIVER_KEY: None}
        assert optuna.get_all_study_names(study._storage) == ["demo"]
        assert begin_anew(study, spec, url) is None
        close(study)
    assert step > 15


@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed"])
@pytest.mark.parametrize("has_looked", [False, True], ids=["comes", "has looked"])
@pytest.mark.parametrize("url", [pytest.param(URLS[0], marks=pytest.mark.slow), URLS[1]])
def test_of_launches_of_one_moment_one_begins_anew_and_nothing_is_lost(write, url, has_looked, killed, monkeypatch, folder):
    """At each step of the one, which may be killed there, another comes, or goes on that has looked at the study before."""
    close(failed(load(write(space=FLOAT)), url))
    spec = load(write(space=INT))
    file = folder / url.rpartition("/")[2]
    shutil.copy(file, folder / "before")
    me, parent = Owner.current(), os.getppid()
    other = dataclasses.replace(me, pid=parent, started=processes.started(parent))
    taken, outcomes, messages = 0, set(), []

    def launch_another(waiting):
        study = waiting if has_looked else create_study(url, spec.name, spec.directions, spec.metrics)
        with monkeypatch.context() as patch:
            patch.setattr(Owner, "current", lambda: other)
            patch.setattr(processes, "is_running", lambda pid, _: pid == parent or not killed)
            if has_looked:
                patch.setattr(restart, "living_driver", lambda _: None)
                patch.setattr(restart, "_is_in_the_way", lambda *_: True)
            try:
                outcomes.add("nothing" if begin_anew(study, spec, url) is None else "begun")
            except StudyError as error:
                outcomes.add("refused")
                messages.append(str(error))

    def joined(function):
        def call(*args, **options):
            nonlocal taken
            taken += 1
            if taken == step:
                launch_another(waiting)
                if killed:
                    raise Killed
            return function(*args, **options)

        return call

    for step in itertools.count(1):
        shutil.copy(folder / "before", file)
        study, waiting = (create_study(url, spec.name, spec.directions, spec.metrics) for _ in range(2))
        taken = 0
        with monkeypatch.context() as patch, contextlib.suppress(Killed, StudyError):
            wrap_steps(patch, joined)
            begin_anew(study, spec, url)
        close(study)
        close(waiting)
        if taken < step:
            break
        study = create_study(url, spec.name, spec.directions, spec.metrics)
        study, _ = begin_anew(study, spec, url) or (study, "")
        given = [(trial.system_attrs["fixed_params"], trial.user_attrs) for trial in study.get_trials()]
        assert all(each in given for each in GIVEN), step
        assert len(given) <= len(GIVEN), step
        assert optuna.get_all_study_names(study._storage) == ["demo"]
        close(study)
    assert step > 15
    assert all("one driver at a time; got one at work" in each or "one launch at a time" in each for each in messages)
    assert outcomes == {("begun" if killed else "refused"), ("refused" if has_looked else "begun")}


@pytest.mark.parametrize("url", URLS)
def test_what_a_kill_has_left_is_deleted_where_the_change_was_undone(write, url, monkeypatch):
    spec = load(write(space=FLOAT))
    study = failed(spec, url)
    changed = load(write(space=INT))
    with monkeypatch.context() as patch:
        patch.setattr(optuna, "delete_study", raise_killed)
        with pytest.raises(Killed):
            begin_anew(study, changed, url)
    assert len(optuna.get_all_study_names(study._storage)) == 2
    study.set_user_attr("dashboard:note", "changed since")
    before = study.get_trials()
    assert begin_anew(study, spec, url) is None
    assert optuna.get_all_study_names(study._storage) == ["demo"]
    assert study.get_trials() == before
    assert study.user_attrs["dashboard:note"] == "changed since"
    close(study)


def raise_killed(**_):
    raise Killed


@pytest.mark.parametrize("given", [{"x": 99}, {"x": 1.0, "else": 1}], ids=["not held", "of no parameter"])
def test_an_enqueued_config_is_no_reason_to_begin_anew(write, given):
    study = create_study("sqlite:///demo.db", "demo", ["maximize"], [])
    check_same(study, load(write(space=FLOAT)))
    study.enqueue_trial(given)
    wider = {"x": '{ type = "float", low = 0.0, high = 10.0 }'}
    assert begin_anew(study, load(write(space=wider)), "sqlite:///demo.db") is None
    study.enqueue_trial({"x": 99}, user_attrs={RETRY_KEY: 0})
    assert begin_anew(study, load(write(space=wider)), "sqlite:///demo.db") is not None, "a retry has run in the former space"


def test_a_launch_runs_what_was_kept_and_says_what_it_refuses(write, capsys):
    url = "sqlite:///demo.db"
    close(failed(load(write(space=FLOAT)), url))
    spec = load(write(space=INT, study={"trials": "4"}))
    study = launch(spec).study
    said = capsys.readouterr().out
    assert "4 enqueued configs are kept; the new space does not hold 1 of them, which will fail." in said
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.params["x"] for trial in study.trials if trial.number in (0, 1, 4)] == [2, 2, 3], "the last of the portfolio"
    assert study.trials[0].user_attrs["start"] == "mine"
