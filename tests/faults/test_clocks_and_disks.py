"""Clocks that jump, machines that sleep, disks that are full: the search goes on, and its figures stay right."""

import contextlib
import datetime
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.driver.budget import BudgetUsage
from search.driver.ownership import Owner, claim
from search.driver.retry import retry_lost
from search.records.attributes import BEAT_KEY, CLOCK_KEY, OWNER_KEY, RAN_KEY, owner_of
from search.records.durations import duration_of
from search.results.report.timeline import lay_out
from search.storage.open import close, create_study
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.slow

SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}
HOUR = 3600.0


def dead_driver():
    return Owner.from_attr({**Owner.current().as_attr(0), "started": 1.0})


def lose_a_trial(url):
    """Leaves a trial RUNNING that a driver began before a weekend, and which showed life for five seconds."""
    study = create_study(url, "demo", ["maximize"], ["score"])
    trial = study.ask(fixed_distributions=SPACE)
    trial.set_user_attr(OWNER_KEY, {**dead_driver().as_attr(0), CLOCK_KEY: 100.0})
    study._storage.set_trial_system_attr(trial._trial_id, BEAT_KEY, 105.0)
    close(study)
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect("demo.db")) as connection, connection:
            connection.execute("UPDATE trials SET datetime_start = datetime(datetime_start, '-2 days')")


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_weekend_between_kill_and_launch_is_no_time_of_the_trial(url):
    lose_a_trial(url)
    study = create_study(url, "demo", ["maximize"], ["score"])
    claim(study)
    assert retry_lost(study) == [0]
    [trial] = study.get_trials(states=(TrialState.FAIL,))
    assert duration_of(trial) == 5.0
    assert trial.duration.total_seconds() == pytest.approx(5.0, abs=1), "for plain Optuna and its dashboard too"
    assert BudgetUsage.of(study).trial_seconds == 5.0
    timeline = lay_out(study.trials)
    assert (timeline.wall_s, timeline.busy_s) == (pytest.approx(5.0), pytest.approx(5.0))
    close(study)


def test_the_driver_shows_life_while_a_trial_says_nothing(write, start, search, wait_for, read_study, monkeypatch):
    """A real driver, killed in a long trial; its successor begins some seconds later."""
    write(study={"objective": '"objectives:deaf"', "trials": "1"})
    Path("sitecustomize.py").write_text("import search.driver.heartbeat\nsearch.driver.heartbeat.BEAT_S = 0.5\n")
    driver = start("launch", "demo.toml", "--quiet", PYTHONPATH=f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}:{ROOT}")
    wait_for(lambda: Path("deaf").exists() and BEAT_KEY in read_study().trials[0].system_attrs)
    time.sleep(1.5)
    driver.kill()
    driver.wait()
    ran = read_study().trials[0].system_attrs[BEAT_KEY] - owner_of(read_study().trials[0])[CLOCK_KEY]
    time.sleep(4)
    Path("objectives.py").write_text("def deaf(trial):\n    return 1.0\n")
    search("launch", "demo.toml", "--quiet")
    lost, again = read_study().trials
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert ran > 1.0
    assert lost.user_attrs[RAN_KEY] >= ran
    assert lost.duration.total_seconds() < lost.user_attrs[RAN_KEY] + 1
    assert again.datetime_start - lost.datetime_complete > datetime.timedelta(seconds=3)


ROOT = Path(__file__).parents[2]

CLOCK = """
import os, time, types
_time = time.time
def jumping():
    with open("offset") as file:
        return _time() + float(file.read())
time.time = jumping
import datetime
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(jumping(), tz)
import optuna.storages._rdb.storage as rdb, optuna.trial._frozen as frozen
rdb.datetime = Jumping
frozen.datetime = types.SimpleNamespace(datetime=Jumping)
"""
"""Run at the start of each Python: the wall clock is off by what the file `offset` says."""


@pytest.fixture
def jump():
    """Sets a wall clock that all processes of the test go by; returns the environment that they need."""
    Path("sitecustomize.py").write_text(CLOCK)

    def to(seconds):
        Path("offset.new").write_text(str(seconds))
        Path("offset.new").replace("offset")

    to(0)
    return to, {"PYTHONPATH": f"{Path.cwd()}:{ROOT}"}


@pytest.mark.parametrize("step", [-HOUR, HOUR, -3 * 24 * HOUR])
def test_a_step_of_the_clock_bends_no_budget_and_no_duration(step, write, start, wait_for, read_study, jump):
    to, environ = jump
    write(
        study={"objective": '"objectives:Parabola"', "trials": "300", "max_device_time": '"8s"'},
        objective={"pause": "0.15"},
        pruner={"name": '"none"'},
    )
    driver = start("launch", "demo.toml", **environ)
    wait_for(lambda: Path("demo.db").exists() and len(_complete()) >= 2)
    to(step)
    driver.wait(timeout=PATIENCE_S)
    trials = read_study().trials
    assert len(trials) <= 15, "8 s of trials that take .6 s each"
    assert all(0.5 < duration_of(trial) < 60 for trial in trials)
    assert 7 < BudgetUsage.of(read_study()).trial_seconds < 60, "with the time in which the first one was drawn"
    timeline = lay_out(trials)
    assert 7 < timeline.busy_s <= timeline.wall_s + 1e-6 < 60
    out, _ = start("launch", "demo.toml", **environ).communicate()
    assert "max_device_time" in out
    assert len(read_study().trials) == len(trials), "a launch after it finds the budget used up"


def _complete():
    with contextlib.closing(sqlite3.connect("file:demo.db?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT 1 FROM trials WHERE state = 'COMPLETE'").fetchall()
        except sqlite3.OperationalError:
            return []


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
def test_another_time_zone_changes_nothing(zone, write, search, read_study, monkeypatch):
    write(study={"trials": "6"}, pruner={"name": '"none"'})
    search("launch", "demo.toml", "--trials", 3, TZ="Europe/Berlin")
    search("launch", "demo.toml", TZ=zone)
    assert all(0 <= duration_of(trial) < 10 for trial in read_study().trials)
    assert 0 < lay_out(read_study().trials).wall_s < 30


def test_the_night_in_which_the_clock_goes_back(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        before = datetime.datetime(2026, 10, 25, 2, 50, fold=0)
        after = datetime.datetime(2026, 10, 25, 2, 10, fold=1)  # 20 minutes later
        study = optuna.create_study(storage="sqlite:///night.db", study_name="night")
        trial = optuna.trial.create_trial(value=1.0)
        trial.datetime_start, trial.datetime_complete = before, after
        study.add_trial(trial)
        [trial] = study.trials
        assert trial.duration.total_seconds() == -2400, "what Optuna makes of it"
        assert duration_of(trial) == 1200
        assert BudgetUsage.of(study).trial_seconds == 1200
        assert lay_out(study.trials).busy_s == 1200
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_second_launch_after_a_step_of_the_clock_finds_the_first_alive(write, start, search, wait_for, read_study, jump):
    to, environ = jump
    write(study={"objective": '"objectives:gated"', "trials": "3"})
    driver = start("launch", "demo.toml", "--quiet", **environ)
    wait_for(Path("waiting").exists)
    to(HOUR)
    refused = search("launch", "demo.toml", code=1, **environ)
    assert "one driver at a time" in refused.stderr
    Path("gate").touch()
    assert driver.wait(timeout=PATIENCE_S) == 0
    assert len(read_study().trials) == 3


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs namespaces")
def test_a_driver_in_another_container_may_live(write, start, search, wait_for, environment):
    container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    inside = [*container, sys.executable, "-m", "search", "launch", "demo.toml"]
    write(study={"objective": '"objectives:gated"', "trials": "2"})
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("namespaces are not allowed here")
    driver = subprocess.Popen([*inside, "--quiet"], env=environment)
    try:
        wait_for(Path("waiting").exists)
        refused = search("launch", "demo.toml", code=1)
        assert "add --take-over if it is gone" in refused.stderr
    finally:
        driver.kill()
        driver.wait()
    Path("gate").touch()
    search("launch", "demo.toml", "--take-over", "--quiet")


@pytest.mark.parametrize("what", ["artifacts", "log", "log that fills up"])
def test_a_full_disk_beside_the_storage_is_said_once_and_costs_no_trial(folder, write, search, full_disk, what):
    write(study={"objective": '"objectives:leave_files_and_talk"', "trials": "4"})
    if what == "artifacts":
        (folder / "demo.artifacts").symlink_to(full_disk)
    elif what == "log":
        (folder / "demo.worker-0.log").mkdir()
    else:
        (full_disk / "log").touch()
        (folder / "demo.worker-0.log").symlink_to(full_disk / "log")
    done = search("launch", "demo.toml")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if "Going on without" in line]
    assert line.startswith("warning: ")
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, float(n)) for n in range(4)]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_launch_whose_output_is_closed_runs(write, environment, closed):
    write(study={"trials": "1"})
    command = f"{shlex.quote(sys.executable)} -m search launch demo.toml --quiet {closed}"
    assert subprocess.run(["sh", "-c", command], env=environment, check=False).returncode == 0
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]


@pytest.mark.parametrize(
    "arguments", [["status", "demo.toml"], ["export", "demo.toml"], ["report", "demo.toml", "-o", "-"], ["--help"]]
)
def test_output_that_is_cut_is_an_error(folder, write, search, arguments):
    write(study={"trials": "2"})
    assert search("launch", "demo.toml").returncode == 0
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "search", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "No space left on device" in done.stderr
