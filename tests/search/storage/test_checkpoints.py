"""What a trial keeps for its next try, through kills of worker and driver."""

from pathlib import Path

import optuna
import pytest

from search.records.attributes import RETRY_KEY
from search.storage.folders import checkpoint_folder, checkpoints_of, delete_checkpoints
from search.workers.protocol import RunTrial
from search.workers.trial import WorkerTrial

REMEMBER = {"study": {"objective": '"objectives:remember"', "trials": "2"}, "pruner": {"name": '"none"'}}
HERE = Path("demo.checkpoints/demo/trial-0")


def test_the_folder_lies_beside_the_storage():
    assert checkpoint_folder("sqlite:///a/demo.db", "s") == Path("a/demo.checkpoints/s")
    assert checkpoint_folder("postgresql://me@host/base", "s") == Path("checkpoints/s")


def test_all_tries_share_it_and_it_goes_with_the_last(tmp_path):
    study = optuna.create_study()
    first = study.ask()
    study.enqueue_trial({}, user_attrs={RETRY_KEY: first.number})
    retry = study.ask()
    assert checkpoints_of(retry, tmp_path / "all" / "demo") == checkpoints_of(first, tmp_path / "all" / "demo")
    other = checkpoints_of(study.ask(), tmp_path / "all" / "demo")
    for folder in (checkpoints_of(first, tmp_path / "all" / "demo"), other):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    delete_checkpoints(retry, tmp_path / "all" / "demo")
    assert not checkpoints_of(first, tmp_path / "all" / "demo").exists()
    assert (other / "file").exists()
    delete_checkpoints(study.ask(), tmp_path / "all" / "demo")
    delete_checkpoints(optuna.trial.FixedTrial({}, number=2), tmp_path / "all" / "demo")
    assert not (tmp_path / "all").exists()


def test_a_trial_without_one_gets_none():
    assert WorkerTrial(RunTrial(0, {}, {}), None, None).checkpoint_folder() is None


@pytest.mark.slow
def test_a_trial_that_lost_its_worker_goes_on_where_it_was(write, search, read_study):
    write(**REMEMBER, objective={"die": '"dead"'})
    search("launch", "demo.toml", "--quiet")
    lost, again, other = read_study().trials
    assert (lost.state.name, lost.user_attrs["begun"]) == ("FAIL", 0)
    assert (again.state.name, again.user_attrs["begun"]) == ("COMPLETE", 2)
    assert other.user_attrs["begun"] == 0
    assert not Path("demo.checkpoints").exists()


@pytest.mark.slow
def test_a_trial_that_lost_its_driver_goes_on_where_it_was(write, start, search, wait_for, read_study):
    write(**REMEMBER)
    Path("hold").touch()
    driver = start("launch", "demo.toml", "--quiet")
    wait_for(lambda: (HERE / "step").exists() and (HERE / "step").read_text() == "2")
    wait_for(lambda: read_study().trials[0].user_attrs)  # else the driver has not heard of it
    driver.kill()
    driver.wait()
    assert HERE.exists()
    Path("hold").unlink()
    search("launch", "demo.toml", "--quiet")
    assert [trial.user_attrs["begun"] for trial in read_study().trials] == [0, 2, 0]
    assert not Path("demo.checkpoints").exists()
