"""What a trial keeps for its next try, through kills of worker and driver."""

import shutil
from pathlib import Path

import optuna
import pytest

from search.driver.legs import task_of
from search.records.attributes import RETRY_KEY, SEED_KEY
from search.storage.folders import checkpoint_folder, checkpoints_of, delete_checkpoints
from search.storage.open import close, create_study, read_back, token_of
from search.storage.readback import mark
from search.workers.protocol import RunTrial
from search.workers.trial import WorkerTrial

REMEMBER = {"study": {"objective": '"objectives:remember"', "trials": "2"}, "pruner": {"name": '"none"'}}


def of_the_first():
    """The folder of trial 0, where there is one."""
    return next(Path("demo.checkpoints").glob("demo-*/trial-0"), Path("none"))


def killed(start, wait_for, read_study):
    """A study whose driver was killed when its first trial had been at its third step."""
    Path("hold").touch()
    driver = start("launch", "demo.toml", "--quiet")
    wait_for(lambda: (of_the_first() / "step").exists() and (of_the_first() / "step").read_text() == "2")
    wait_for(lambda: "begun" in read_study().trials[0].user_attrs)  # else the driver has not heard of it
    driver.kill()
    driver.wait()
    Path("hold").unlink()


def begun(url, name="s"):
    """The folder of a study as whoever drives or joins it finds it."""
    study = create_study(url, name, ["maximize"], [])
    read_back(study, url)
    found = checkpoint_folder(url, study)
    close(study)
    return found


def test_the_folder_lies_beside_the_storage():
    study = optuna.create_study(study_name="s")
    mark(study)
    assert checkpoint_folder("sqlite:///a/demo.db", study) == Path(f"a/demo.checkpoints/s-{token_of(study)}")
    assert checkpoint_folder("postgresql://me@host/base", study) == Path(f"checkpoints/s-{token_of(study)}")


def test_each_study_has_its_own_whatever_is_called_like_it():
    first, again = begun("sqlite:///demo.db"), begun("sqlite:///demo.db")
    assert first == again
    shutil.copy("demo.db", "kept.db")
    Path("demo.db").unlink()
    urls = ["sqlite:///demo.db", "journal:///demo.log", "sqlite:///demo.1", "sqlite:///demo.2"]
    assert len({first, *map(begun, urls)}) == 5
    assert begun("sqlite:///kept.db").name == first.name


@pytest.mark.server
def test_databases_of_one_server_are_told_apart(mariadb):
    url, other = mariadb.new_database(), mariadb.new_database()
    assert begun(url) == begun(url) != begun(other)


def test_a_worker_is_told_the_whole_path():
    trial = optuna.create_study().ask()
    trial.set_user_attr(SEED_KEY, 1)
    assert task_of(trial, None, Path("kept"), answered=True).checkpoints == Path("kept/trial-0").resolve()


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
    killed(start, wait_for, read_study)
    assert of_the_first().exists()
    search("launch", "demo.toml", "--quiet")
    assert [trial.user_attrs["begun"] for trial in read_study().trials] == [0, 2, 0]
    assert not Path("demo.checkpoints").exists()


@pytest.mark.slow
def test_a_study_that_takes_the_place_of_another_begins_at_the_beginning(write, start, search, wait_for, read_study):
    write(**REMEMBER)
    killed(start, wait_for, read_study)
    for file in Path().glob("demo.db*"):
        file.unlink()
    search("launch", "demo.toml", "--quiet")
    assert [trial.user_attrs["begun"] for trial in read_study().trials] == [0, 0]
