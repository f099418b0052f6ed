"""Copies hold the record of a study's driver too, and are not driven by it. For what a driver is: test_resume.py."""

import contextlib
import dataclasses
import os
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from search.driver import processes
from search.driver.ownership import Owner, claim, driver_of, is_copy, living_driver
from search.driver.retry import retry_lost
from search.errors import StudyError
from search.optuna_internals import storage_of
from search.records.attributes import DRIVER_KEY, OWNER_KEY
from search.results.status import is_at_work
from search.storage.open import close, open_study

ME = Owner.current()
OTHER = dataclasses.replace(ME, pid=os.getppid(), started=processes.started(os.getppid()))  # which lives


@pytest.fixture
def driven(study, monkeypatch):
    """A study that another process drives, with one trial that it runs."""
    with monkeypatch.context() as patch:
        patch.setattr(Owner, "current", lambda: OTHER)
        claim(study)
    study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}).set_user_attr(OWNER_KEY, OTHER.as_attr(0))
    return study


def _copied(study, url, name, storage):
    """Returns a copy that Optuna makes."""
    optuna.copy_study(from_study_name=study.study_name, from_storage=storage_of(study), to_study_name=name, to_storage=storage)
    return open_study(url, name, writable=True)


def _backed_up():
    with contextlib.closing(sqlite3.connect("demo.db")) as source, contextlib.closing(sqlite3.connect("copy.db")) as target:
        source.backup(target)
    return open_study("sqlite:///copy.db", "demo", writable=True)


def _duplicated():
    shutil.copy("demo.log", "copy.log")
    return open_study("journal:///copy.log", "demo", writable=True)


def _check_copy(copy, driven):
    """Checks that a copy is free while the original is not, before and after the copy has a driver too."""
    assert copy.user_attrs[DRIVER_KEY]["pid"] == OTHER.pid
    assert is_copy(copy)
    assert driver_of(copy) is None
    assert not is_at_work(copy), "what it runs was lost for the copy"
    gone = Owner.from_attr(copy.user_attrs[DRIVER_KEY])
    assert claim(copy) == ME
    assert driver_of(copy) == ME
    assert retry_lost(copy, gone) == [0]
    assert driver_of(driven) == OTHER
    assert is_at_work(driven)
    with pytest.raises(StudyError, match=f"one driver at a time; got one at work, process {OTHER.pid} on"):
        claim(driven)
    close(copy)


@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("sqlite:///copy.db", RDBStorage),
        ("journal:///copy.log", lambda _: JournalStorage(JournalFileBackend("copy.log"))),
    ],
)
def test_a_copy_in_another_storage_is_not_driven(driven, place, make):
    copy = _copied(driven, place, "demo", make(place))  # its first study, as the original is in its own
    assert living_driver(copy) is None
    _check_copy(copy, driven)


def test_a_copy_of_another_name_in_the_same_storage_is_not_driven(driven, url):
    _check_copy(_copied(driven, url, "other", storage_of(driven)), driven)


@pytest.mark.parametrize(("url", "take"), [("sqlite:///demo.db", _backed_up), ("journal:///demo.log", _duplicated)])
def test_a_copy_of_the_whole_file_is_not_driven(driven, url, take):
    copy = take()
    assert living_driver(copy) is None
    _check_copy(copy, driven)


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_file_under_another_path_is_the_same(driven, url, folder):
    kind, file = url.split(":///")
    Path("link").symlink_to(file)
    Path("moved").mkdir()
    for path in ("link", str(folder / file)):
        seen = open_study(f"{kind}:///{path}", "demo")
        assert driver_of(seen) == OTHER
        close(seen)
    if kind == "journal":  # a second name of a database is refused
        os.link(file, "moved/hard")
        assert driver_of(open_study("journal:///moved/hard", "demo")) == OTHER


def test_another_machine_may_see_the_storage_elsewhere_but_not_another_study(driven, url, monkeypatch):
    copy = _copied(driven, url, "other", storage_of(driven))
    attr = {**driven.user_attrs[DRIVER_KEY], "boot": "other", "installed": "other", "host": "elsewhere"}
    attr["drives"] = {**attr["drives"], "places": ["seen otherwise there"]}
    for study in (driven, copy):
        study.set_user_attr(DRIVER_KEY, attr)
    assert driver_of(driven).host == "elsewhere"
    with pytest.raises(StudyError, match="--take-over"):
        claim(driven)
    assert driver_of(copy) is None
    close(copy)


@pytest.mark.parametrize("drives", [None, 1, {}, {"study": 1, "places": []}, {"study": "x", "places": "y"}])
def test_a_driver_of_which_nothing_more_is_on_record_counts(driven, drives):
    attr = dict(driven.user_attrs[DRIVER_KEY])
    driven.set_user_attr(DRIVER_KEY, {**attr, "drives": drives})
    assert driver_of(driven) == OTHER
    del attr["drives"]
    driven.set_user_attr(DRIVER_KEY, attr)
    assert driver_of(driven) == OTHER
