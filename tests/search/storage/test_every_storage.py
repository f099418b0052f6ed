"""One suite over every kind of storage."""

import json
import math
import os
import re
import urllib.request

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.driver.compatibility import check_identical, check_same
from search.driver.launch import launch
from search.driver.ownership import claim, claimed
from search.driver.retry import fail, retry_lost
from search.errors import ObjectiveError, StorageError, StudyError
from search.records.attributes import (
    DRIVER_KEY,
    FAILURE_KEY,
    FILE_KEY,
    OWNER_KEY,
    RETRY_KEY,
    TRACEBACK_KEY,
    failure_of,
    traceback_of,
)
from search.storage import open as storage
from search.study_file.load import load

SPACE = {"x": optuna.distributions.FloatDistribution(-10.0, 10.0)}


@pytest.fixture
def reopen(url):
    """Opens the study as another process would: nothing of what this one has cached."""
    opened = []

    def read(name="demo"):
        opened.append(storage.open_study(url, name, writable=True))
        return opened[-1]

    yield read
    for one in opened:
        storage.close(one)


def test_a_study_is_found_again(study, reopen):
    assert reopen().metric_names == ["score"]
    with pytest.raises(StudyError, match='holds no study "other"'):
        reopen("other")


def test_metrics_of_a_study_with_trials_keep_their_names_until_a_file_is_accepted(study, url, write):
    study.add_trial(optuna.trial.create_trial(value=1.0))
    opened = storage.create_study(url, "demo", ["maximize"], ["minutes"])
    assert opened.metric_names == ["score"]
    with pytest.raises(StudyError, match="directions: must stay as it was"):
        check_same(opened, load(write(study={"metric": '"minutes"', "direction": '"minimize"'})))
    assert opened.metric_names == ["score"]
    check_same(opened, load(write(study={"metric": '"minutes"'})))
    assert opened.metric_names == ["minutes"]
    storage.close(opened)


def test_who_joins_a_study_of_plain_optuna_first_names_its_metrics(url, write):
    opened = storage.create_study(url, "demo", ["maximize"], [])
    opened.add_trial(optuna.trial.create_trial(value=1.0))
    check_identical(opened, load(write()))
    assert opened.metric_names == ["score"]
    storage.close(opened)


@pytest.mark.parametrize("check", [check_same, check_identical])
def test_the_variables_that_a_file_names_bind_nobody(study, write, check):
    """A record of before does not have them; what reads them are the settings."""
    tables = {"objective": {"data": '"${DATA:-here}"'}}
    spec = load(write(study={"environment": '["DATA"]'}, **tables))
    check(study, spec)
    study.set_user_attr(FILE_KEY, {key: value for key, value in study.user_attrs[FILE_KEY].items() if key != "environment"})
    study.add_trial(optuna.trial.create_trial(value=1.0))
    check(study, spec)
    check(study, load(write(study={"environment": '["DATA", "OTHER"]'}, **tables)))


def delete_with_plain_optuna(url):
    kept = url.replace("mariadb:", "mysql+pymysql:")
    if url.startswith("journal"):
        kept = JournalStorage(JournalFileBackend(url.removeprefix("journal:///")))
    optuna.delete_study(study_name="demo", storage=kept)


def lose(study, url, touch):
    """A driver whose study is deleted once it has told a trial and begun another."""
    with claimed(study), storage.read_back(study, url).watching():
        study.tell(study.ask(fixed_distributions=SPACE), 2.0)
        study.ask(fixed_distributions=SPACE)
        delete_with_plain_optuna(url)
        touch(study)


@pytest.mark.parametrize("touch", [lambda study: study.ask(), lambda study: None], ids=["which asks", "which waits"])
def test_a_study_that_is_deleted_under_its_driver_is_saved(study, url, touch):
    study.enqueue_trial({"x": 1.5})
    with pytest.raises(StorageError, match=r"No further trial is started\. All that is known, 2 trials, is saved") as caught:
        lose(study, url, touch)
    saved = storage.open_study(re.search("--storage '([^']*)'", str(caught.value))[1], "demo")
    first, running = saved.trials
    assert (first.params, first.value, running.state) == ({"x": 1.5}, 2.0, TrialState.RUNNING)
    storage.close(saved)


def test_a_launch_that_fails_says_why_though_its_study_is_gone(study, url):
    def fail_without_it():
        with claimed(study):
            delete_with_plain_optuna(url)
            raise ObjectiveError("why")

    with pytest.raises(ObjectiveError, match="why"):
        fail_without_it()


def test_what_trials_hold_comes_back(study, reopen):
    trial = study.ask(fixed_distributions=SPACE)
    trial.report(math.inf, 0)
    trial.report(1e-300, 7)
    trial.set_user_attr("note", "naïve → 🧠")
    trial.set_user_attr(TRACEBACK_KEY, "x" * 60_000)
    study.tell(trial, -math.inf)
    found = reopen().trials[0]
    assert found.params == trial.params
    assert found.intermediate_values == {0: math.inf, 7: 1e-300}
    assert (found.user_attrs["note"], len(found.user_attrs[TRACEBACK_KEY])) == ("naïve → 🧠", 60_000)
    assert found.value == -math.inf


def test_names_that_differ_in_their_case_alone_are_two(study, url, reopen):
    names = ["c", "C", "é", "e"]
    trial = study.ask(fixed_distributions=dict.fromkeys(names, SPACE["x"]))
    with storage.together(study, trial._trial_id):
        for number, name in enumerate(names):
            trial.set_user_attr(name, number)
    for number, name in enumerate(names):
        study.set_user_attr(name, number)
    storage.close(storage.create_study(url, "Demo", ["maximize"], []))
    found = reopen()
    assert found.trials[0].params == trial.params
    assert len(trial.params) == 4
    assert found.trials[0].user_attrs == found.user_attrs == dict(zip(names, range(4), strict=True))
    assert reopen("Demo").trials == []


@pytest.mark.parametrize("check", [check_same, check_identical])
@pytest.mark.server
def test_tables_that_know_no_case_are_not_given_what_they_would_mix_up(mariadb, write, check):
    url = mariadb.new_database()
    study = storage.create_study(url, "demo", ["maximize"], [])
    for table in ("studies", "trial_params"):  # as plain Optuna leaves them to the server's setting
        change = f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        mariadb.execute(f"USE {url.rpartition('/')[2]}; {change}")
    with pytest.raises(StudyError, match='a study must be called "Demo"; got "demo", which it takes for the same'):
        storage.create_study(url, "Demo", ["maximize"], [])
    with pytest.raises(StudyError, match=r"space\.x: must differ from the other names by more than its case, .* got X too"):
        check(study, load(write(space={"X": '{ type = "float", low = 0.0, high = 1.0 }'})))
    check(study, load(write()))
    storage.close(study)


def test_a_driver_on_another_machine_keeps_its_study(study, reopen):
    study.set_user_attr(DRIVER_KEY, {"host": "elsewhere", "pid": 1, "started": 1.0})
    with pytest.raises(StudyError, match="got one at work, process 1 on elsewhere"):
        claim(reopen())
    claim(reopen(), take_over=True)
    assert study.user_attrs[DRIVER_KEY]["pid"] == os.getpid()


def test_what_a_driver_elsewhere_lost_is_taken_up(study, reopen):
    trial = study.ask(fixed_distributions=SPACE)
    trial.set_user_attr(OWNER_KEY, {"host": "elsewhere", "pid": 1, "started": 1.0})
    assert retry_lost(reopen()) == [0]
    lost, retry = reopen().trials
    assert (lost.state, retry.state, retry.user_attrs[RETRY_KEY]) == (TrialState.FAIL, TrialState.WAITING, 0)
    assert reopen().ask(fixed_distributions=SPACE).params == trial.params


def test_a_failure_keeps_its_reason_and_the_end_of_its_traceback(study, reopen):
    fail(study, study.ask().number, "the disk is full", "x\n" * 50_000 + "OSError: the disk is full")
    found = reopen().trials[0]
    assert failure_of(found) == "the disk is full"
    assert traceback_of(found).endswith("x\nOSError: the disk is full")


@pytest.mark.slow
def test_what_a_storage_cannot_hold_costs_the_trial_that_says_it(write, url, reopen):
    """And no launch: the next one is tried."""
    tables = {"objective": '"objectives:overdo"', "trials": "1", "max_failures": "20", "storage": f'"{url}"'}
    launched = launch(load(write(study=tables, pruner={"name": '"none"'})), quiet=True)
    storage.close(launched.study)
    *failed, last = reopen().trials
    assert {trial.state for trial in failed} == {TrialState.FAIL}
    assert all(
        re.search(r"^(Type|Value)Error: (report|set_user_attr|upload_artifact): ", failure_of(trial)) for trial in failed
    )
    assert len(failed) == (10 if url.startswith("mariadb") else 9)
    assert last.state is TrialState.COMPLETE


@pytest.mark.slow
def test_a_launch_that_is_killed_and_resumed(folder, write, start, search, wait_for, url, reopen, assert_no_password):
    path = write(study={"objective": '"objectives:gated"', "trials": "6", "storage": f'"{url}"'}, pruner={"name": '"none"'})
    driver = start("launch", path, "--workers", "2")
    wait_for((folder / "waiting").exists)
    seen = reopen()
    wait_for(lambda: len(seen.get_trials(states=(TrialState.RUNNING,))) == 2)
    refused = search("launch", path, code=1)
    assert "one driver at a time" in refused.stderr
    driver.kill()
    output, errors = driver.communicate()
    (folder / "gate").touch()
    resumed = search("launch", path, "--workers", "2", "--storage", url)
    assert "taken up again: trials 0, 1." in resumed.stdout
    assert "Budget reached: 6/6 trials." in resumed.stdout
    trials = reopen().trials
    assert [trial.number for trial in trials] == list(range(8))
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2 + [TrialState.COMPLETE] * 6
    assert {trial.user_attrs[FAILURE_KEY] for trial in trials[:2]} == {"the driver died while this trial was running"}
    table, config = search("status", path), search("export", path)
    assert "6/6 trials finished" in table.stdout
    texts = [output, errors, *(text for done in (refused, resumed, table, config) for text in (done.stdout, done.stderr))]
    kept = [file.read_bytes().decode(errors="replace") for file in folder.iterdir() if file.is_file() and file != folder / path]
    assert_no_password(*texts, *kept, str(reopen().user_attrs), *(str(trial) for trial in trials))


@pytest.mark.slow
def test_the_dashboard_reads_it(write, start, study, url, assert_no_password):
    study.add_trial(optuna.create_trial(value=1.0, params={"x": 1.0}, distributions=SPACE))
    server = start("dashboard", write(study={"storage": f'"{url}"'}), "--port", "0")
    address = server.stdout.readline().split()[0]
    with urllib.request.urlopen(f"{address.partition('/dashboard')[0]}/api/studies/{study._study_id}?after=0") as answer:
        body = answer.read().decode()
    assert json.loads(body)["trials"][0]["params"][0]["param_external_value"] == "1.0"
    assert_no_password(address, body)
