"""What a driver knows of its own trials is what the database holds, without reading it."""

import gc
import weakref

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from search.storage import open as storage
from search.storage.cache import OwnTrialsStorage
from tests.search.servers import SERVERS

pytestmark = pytest.mark.parametrize("url", ["sqlite", *SERVERS], indirect=True)

SPACE = {
    "x": optuna.distributions.FloatDistribution(-10.0, 10.0),
    "y": optuna.distributions.CategoricalDistribution(["a", "b"]),
}


@pytest.fixture
def read_ids(study, monkeypatch):
    """The ids of the trials that were read from the database."""
    ids = []
    original = study._storage._backend._get_trials

    def read(*arguments):
        trials = original(*arguments)
        ids.extend(trial._trial_id for trial in trials)
        return trials

    monkeypatch.setattr(study._storage._backend, "_get_trials", read)
    return ids


def test_own_trials_are_known_and_the_same_for_all(study, other, read_ids):
    trial = study.ask(SPACE)
    study.get_trials()
    before = study.get_trials(deepcopy=False)
    read_ids.clear()
    trial.report(0.5, 0)
    trial.report(0.25, 1)
    trial.set_user_attr("note", ("a", 1))
    trial.storage.set_trial_system_attr(trial._trial_id, "rung", 3)
    assert study.get_trials() == other.get_trials()
    assert study.get_trials()[0].intermediate_values == {0: 0.5, 1: 0.25}
    assert read_ids == []
    assert before[0].intermediate_values == {}, "what a caller holds does not change under its hands"
    study.tell(trial, 1.0)
    assert study.get_trials() == other.get_trials()
    assert read_ids == [trial._trial_id]


def test_the_trials_of_others_are_read_while_they_run(study, other):
    trial = other.ask(SPACE)
    assert study.get_trials()[0].params == trial.params
    own = study.ask(SPACE)
    trial.report(0.5, 0)
    other.tell(trial, 2.0)
    own.report(1.0, 0)
    found = study.get_trials()
    assert [(t.number, t.state, t.intermediate_values) for t in found] == [
        (0, TrialState.COMPLETE, {0: 0.5}),
        (1, TrialState.RUNNING, {0: 1.0}),
    ]
    study.tell(own, 1.0)
    assert found[0] == other.get_trials()[0]
    assert study.best_trial.number == 0


def test_a_waiting_trial_is_seen_by_all_and_read_until_it_ends(study, other):
    study.enqueue_trial({"x": 1.0})
    trial = other.ask(SPACE)
    assert trial.params["x"] == 1.0
    assert study.get_trials()[0].params == trial.params
    other.tell(trial, 1.0)
    assert study.get_trials() == other.get_trials()


def wait(study, **attrs):
    """Adds a trial that waits; returns its id."""
    template = create_trial(
        state=TrialState.WAITING,
        user_attrs={"note": 1, "group": 2},
        system_attrs={"fixed_params": {"x": 1.0}, **attrs},
    )
    return study._storage.create_new_trial(study._study_id, template)


def swap(study, trial_id):
    """Exchanges two values, the later row's first: PostgreSQL reads the rows in the order in which they were written."""
    study._storage.set_trial_user_attr(trial_id, "group", 1)
    study._storage.set_trial_user_attr(trial_id, "note", 2)


def climb(study, trial_id):
    """Plays a driver that takes up a trial and pauses it again."""
    study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    study._storage.set_trial_intermediate_value(trial_id, 0, 0.5)
    study._storage.set_trial_system_attr(trial_id, "rungs", {"1": [0.5, 1.0]})
    study._storage.set_trial_state_values(trial_id, TrialState.WAITING)


def analyze(study):
    """Lets PostgreSQL know how few rows there are, so that it reads them as they lie."""
    with study._storage.session() as session:
        session.execute(sqlalchemy.text("ANALYZE"))


CHANGES = {
    "in place": lambda other, trial_id: other._storage.set_trial_user_attr(trial_id, "note", 2),
    "apart": lambda other, trial_id: other._storage.set_trial_system_attr(trial_id, "fixed_params", {"x": 2.0}),
    "swapped": swap,
    "new": lambda other, trial_id: other._storage.set_trial_user_attr(trial_id, "by", "hand"),
    "parameter": lambda other, trial_id: other._storage.set_trial_param(trial_id, "x", 3.0, SPACE["x"]),
    "report": lambda other, trial_id: other._storage.set_trial_intermediate_value(trial_id, 0, 0.5),
    "begun": lambda other, trial_id: other._storage.set_trial_state_values(trial_id, TrialState.RUNNING),
    "climbed": climb,
    "over": lambda other, trial_id: other._storage.set_trial_state_values(trial_id, TrialState.FAIL),
}


@pytest.mark.parametrize("by", ["other", "study"])
def test_what_waits_is_read_again_where_it_has_changed(study, other, url, read_ids, by):
    ids = [wait(other) for _ in CHANGES]
    if url.startswith("postgresql"):
        analyze(other)
    study.get_trials(), other.get_trials()
    last = wait(other)  # comes when the others are known
    study.get_trials(), study.get_trials()
    read_ids.clear()
    assert len(study.get_trials()) == len(ids) + 1
    assert read_ids == []
    for change, trial_id in zip(CHANGES.values(), ids, strict=True):
        change({"other": other, "study": study}[by], trial_id)
    fresh = storage.create_study(url, "demo", ["maximize"], ["score"])
    assert study.get_trials() == fresh.get_trials()
    assert study.get_trials() == other.get_trials()
    assert last not in read_ids
    storage.close(fresh)


def test_a_report_of_a_waiting_trial_that_this_process_replaces_is_seen(study):
    trial_id = wait(study)
    for value in (1.0, 2.0):
        study._storage.set_trial_intermediate_value(trial_id, 0, value)
        assert study.get_trials()[0].intermediate_values == {0: value}


def test_what_changes_while_the_trials_are_read_is_seen_at_the_next_look(study, other, monkeypatch):
    trial_id = wait(other)
    study.get_trials()
    original = study._storage._backend._get_trials

    def read(*arguments):
        trials = original(*arguments)
        other._storage.set_trial_user_attr(trial_id, "note", 2)
        return trials

    other._storage.set_trial_user_attr(trial_id, "note", 3)
    monkeypatch.setattr(study._storage._backend, "_get_trials", read)
    assert [study.get_trials()[0].user_attrs["note"] for _ in range(2)] == [3, 2]


def test_a_trial_that_another_driver_ended_is_read_again(study, other):
    trial = study.ask(SPACE)
    study.get_trials()
    other.tell(trial.number, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        trial.report(0.5, 0)
    assert study.get_trials() == other.get_trials()


def test_an_end_that_another_driver_has_forestalled_is_not_missed_in_the_storage(study, other):
    """Else the launch would end: the trial is not as this driver wrote it."""
    trial = study.ask(SPACE)
    other.tell(trial.number, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])
    study.get_trials()
    assert study._storage.known(study._study_id).ends() == {0: (TrialState.FAIL, ())}


@pytest.mark.parametrize("before", [None, 1])
def test_what_another_writes_meanwhile_is_what_is_changed(study, other, before):
    if before is not None:
        study.set_user_attr("count", before)
    seen = []

    def add_one(value):
        seen.append(value)
        if len(seen) == 1:
            other.set_user_attr("count", 5)
        return (value or 0) + 1

    storage.change_user_attr(study, "count", add_one)
    assert (seen, other.user_attrs["count"]) == ([before, 5], 6)


def test_what_is_read_of_an_own_trial_is_the_readers_to_change(study):
    trial = study.ask(SPACE)
    study.get_trials()
    study._storage.get_trial(trial._trial_id).params["x"] = 99.0
    assert study.get_trials()[0].params == trial.params


def test_connections_close_when_nobody_holds_the_study(url):
    """Later ones of this process must not be needed for it: SQLAlchemy keeps what belongs to a hundred engines."""
    opened = storage.create_study(url, "demo", ["maximize"], ["score"])
    opened.ask(SPACE)
    kept = opened._storage
    assert isinstance(kept, OwnTrialsStorage)
    engine, held, closed = kept.backend.engine, weakref.ref(kept), []
    sqlalchemy.event.listen(engine, "close", lambda connection, _record: closed.append(connection))
    del opened, kept
    gc.collect()
    assert held() is None
    assert closed
