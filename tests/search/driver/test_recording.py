"""What a trial says of itself at one time is written down at one time."""

import warnings

import optuna
import pytest
import sqlalchemy

from search.driver.recording import record
from search.optuna_internals import storage_of, trial_id_of
from search.storage import open as storage
from search.workers.protocol import Artifact, Constraint, Report, UserAttr


@pytest.fixture
def study(tmp_path):
    made = storage.create_study(f"sqlite:///{tmp_path}/demo.db", "demo", ["maximize"], ["score"])
    yield made
    storage.close(made)


def test_all_that_is_said_at_one_time_is_one_transaction(study, tmp_path):
    trial, commits = study.ask(), []
    sqlalchemy.event.listen(study._storage.backend.engine, "commit", commits.append)
    said = [UserAttr(0, "seed", 7), Report(0, 0.5, 0), Report(0, 0.75, 1), Artifact(0, "a.txt", b"a"), UserAttr(0, "seed", 8)]
    assert record(trial, said, {0}, tmp_path / "artifacts") == []
    assert len(commits) == 1
    stored = study.get_trials()[0]
    assert stored.intermediate_values == {1: 0.75}, "the first was reported before"
    assert stored.user_attrs == {"seed": 8}
    assert [key for key in stored.system_attrs if key.startswith("artifacts:")]
    assert [path.read_bytes() for path in (tmp_path / "artifacts").iterdir()] == [b"a"]


def test_a_report_that_a_foreign_file_has_already_warns_of_nothing(study):
    """A journal that another program has overwritten while the new trial was read: what is wrong is told once, by the check."""
    read = study.ask()
    storage_of(study).set_trial_intermediate_value(trial_id_of(read), 0, 0.25)
    trial = optuna.Trial(study, trial_id_of(read))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert record(trial, [Report(0, 0.5, 0)], (), None) == []
    assert study.get_trials()[0].intermediate_values == {0: 0.5}


def test_of_a_constraint_the_newest_value_counts(study):
    """Another leg of a trial may say another one; Optuna would keep the first."""
    trial = study.ask()
    for said in (1.0, 2.0), (-1.0,):
        assert record(trial, [Constraint(0, "size", value) for value in said], (), None) == []
    assert study.get_trials()[0].constraints == trial.constraints == {"size": -1.0}


def test_a_file_that_cannot_be_kept_costs_nothing_else(study, tmp_path):
    (tmp_path / "artifacts").write_text("no folder")
    trial = study.ask()
    lines = record(trial, [Artifact(0, "a.txt", b"a"), Report(0, 0.5, 0)], (), tmp_path / "artifacts")
    assert len(lines) == 1
    assert "files of trials cannot be kept" in lines[0]
    assert study.get_trials()[0].intermediate_values == {0: 0.5}


def test_without_a_folder_files_are_let_go(study):
    trial = study.ask()
    assert record(trial, [Artifact(0, "a.txt", b"a")], (), None) == []
    assert study.get_trials()[0].system_attrs == {}
