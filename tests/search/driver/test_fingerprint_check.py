"""What the values of a study depend on stays as it was: over launches, for finalists, and for whoever joins."""

from pathlib import Path

import optuna
import pytest

from search.driver import fingerprint_check
from search.records.attributes import FINGERPRINT_KEY

OBJECTIVE = {"objective": '"objectives:OfData"', "trials": "4"}


@pytest.fixture(autouse=True)
def data(folder):
    path = Path("data.txt")
    path.write_text("1.0")
    return path


@pytest.fixture
def study():
    return optuna.create_study()


def fill(study, *states):
    for state in states:
        study.add_trial(optuna.trial.create_trial(state=state, value=1.0 if state.name == "COMPLETE" else None))


def test_the_first_fingerprint_is_kept_and_others_are_told_it(study):
    assert fingerprint_check.save_or_compare(study, {"data": "a"}) is None
    assert fingerprint_check.save_or_compare(study, {"data": "a"}) is None
    assert fingerprint_check.save_or_compare(study, {"data": "b"}) == {"data": "a"}
    assert fingerprint_check.save_or_compare(study, {}) == {"data": "a"}
    assert study.user_attrs[FINGERPRINT_KEY] == {"data": "a"}


def test_an_objective_that_says_nothing_keeps_nothing(study):
    assert fingerprint_check.save_or_compare(study, {}) is None
    assert study.user_attrs == {}


@pytest.mark.parametrize("attr", ["a text", 7, ["data"], None])
def test_an_attribute_of_another_shape_counts_as_absent(study, attr):
    study.set_user_attr(FINGERPRINT_KEY, attr)
    assert fingerprint_check.save_or_compare(study, {"data": "a"}) is None


def test_nothing_binds_before_there_is_a_value(study):
    fingerprint_check.save_or_compare(study, {"data": "a"})
    fill(study, optuna.trial.TrialState.FAIL, optuna.trial.TrialState.WAITING)
    fingerprint_check.delete_if_unused(study)
    assert fingerprint_check.save_or_compare(study, {"data": "b"}) is None
    fill(study, optuna.trial.TrialState.COMPLETE)
    fingerprint_check.delete_if_unused(study)
    assert fingerprint_check.save_or_compare(study, {"data": "c"}) == {"data": "b"}


def test_a_study_that_is_compared_with_another_begins_with_its_fingerprint_and_keeps_its_own(study):
    source, plain = optuna.create_study(), optuna.create_study()
    fingerprint_check.copy_fingerprint(plain, study)
    assert study.user_attrs == {}
    fingerprint_check.save_or_compare(source, {"data": "a"})
    fingerprint_check.copy_fingerprint(source, study)
    assert study.user_attrs[FINGERPRINT_KEY] == {"data": "a"}
    fingerprint_check.save_or_compare(plain, {"data": "b"})
    fingerprint_check.copy_fingerprint(source, plain)
    assert plain.user_attrs[FINGERPRINT_KEY] == {"data": "b"}


def values(study):
    return [trial.value for trial in study.trials]


def test_a_resume_on_other_data_is_refused_in_one_line_and_goes_on_with_the_former(write, search, read_study, data):
    path = write(study=OBJECTIVE)
    search("launch", path)
    assert read_study().user_attrs[FINGERPRINT_KEY] == {"data": "1.0", "code": "1"}
    data.write_text("2.0")
    for arguments in (["--workers", 1], ["--workers", 2]):
        refused = search("launch", path, "--trials", 6, *arguments, code=1).stderr
        assert refused == (
            'error: study "demo": what its trials are measured with must stay as it was; '
            "got a change: data was 1.0, and is 2.0. Undo it, or add --as NAME to start another study.\n"
        )
    assert len(read_study().trials) == 4
    assert "must stay" in search("finalists", path, "--top", 1, "--seeds", 2, code=1).stderr
    search("launch", path, "--as", "other", "--quiet")
    data.write_text("1.0")
    search("launch", path, "--trials", 6)
    search("finalists", path, "--top", 1, "--seeds", 2)
    assert len(read_study().trials) == 6


def test_the_objective_may_tell_the_change_in_its_own_words(write, search, data):
    path = write(study={**OBJECTIVE, "objective": '"objectives:OfDataInWords"'})
    search("launch", path)
    data.write_text("2.0")
    refused = search("launch", path, "--trials", 6, code=1).stderr
    assert "got a change: data: one file changed, 1.0 became 2.0. Undo" in refused


@pytest.mark.slow
def test_data_that_changes_while_a_study_runs_is_noticed_by_the_next_worker(write, start, wait_for, read_study, data):
    process = start("launch", write(study={**OBJECTIVE, "trials": "400", "worker_trials": "1"}), "--quiet")
    log = Path("demo.worker-0.log")
    wait_for(lambda: log.exists() and log.read_text().count("leaving") >= 2)
    data.write_text("2.0")
    _, told = process.communicate()
    assert process.returncode == 1
    assert "data was 1.0, and is 2.0" in told
    for trial in read_study().get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        assert trial.value == pytest.approx(1 - (trial.params["x"] - 2) ** 2, abs=1e-5)


def test_data_may_be_mended_before_there_is_a_value(write, search, read_study, data):
    broken = write(study=OBJECTIVE, objective={"broken": "true"})
    search("launch", broken, code=1)
    data.write_text("2.0")
    search("launch", write(study=OBJECTIVE), "--trials", 3)
    assert read_study().user_attrs[FINGERPRINT_KEY]["data"] == "2.0"


def test_a_warm_start_whose_values_are_compared_needs_the_same_data(write, search, data):
    path = write(study=OBJECTIVE)
    search("launch", path)
    data.write_text("2.0")
    refused = search("launch", path, "--as", "next", "--warm-start", "demo", code=1).stderr
    assert 'study "next": what its trials' in refused
    data.write_text("1.0")
    search("launch", path, "--as", "next", "--warm-start", "demo")


def test_a_fingerprint_that_is_none_is_one_line(write, search):
    refused = search("launch", write(study={**OBJECTIVE, "objective": '"objectives:BadFingerprint"'}), code=1).stderr
    assert "fingerprint() must return names" in refused
