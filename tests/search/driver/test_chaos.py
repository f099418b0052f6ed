"""Everything goes wrong at once, and nothing is lost: workers and driver killed, hung and raising, with readers all along."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import optuna
import pytest
from optuna.trial import TrialState

from search.records.attributes import FAILURE_KEY, RETRY_KEY, SEED_KEY, traceback_of
from search.records.rungs import rungs_of
from tests.patience import PATIENCE_S
from tests.search.objectives import straight

pytestmark = pytest.mark.slow

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Readers:
    """Repeats reads in threads of their own, and keeps what they raised."""

    def __init__(self):
        self.reads, self.errors = 0, []
        self._over = threading.Event()
        self._threads = []

    def add(self, read, pause=0.05):
        def repeat():
            while not self._over.wait(pause):
                try:
                    read()
                    self.reads += 1
                except Exception as error:
                    self.errors.append(error)

        thread = threading.Thread(target=repeat)
        thread.start()
        self._threads.append(thread)

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def readers():
    readers = Readers()
    yield readers
    readers.stop()


@pytest.fixture
def dashboard(start):
    """Starts the dashboard; returns what polls it as its page does."""

    def begin():
        address = start("dashboard", "demo.toml", "--port", 0).stdout.readline().split("/dashboard")[0]

        def poll():
            for path in ("/api/studies", "/api/studies/1?after=0"):
                with urllib.request.urlopen(address + path, timeout=PATIENCE_S) as answer:
                    assert json.load(answer)

        return poll

    return begin


def count(query, default=0):
    """Asks the database itself; `default` before it has its tables."""
    try:
        with contextlib.closing(sqlite3.connect("file:demo.db?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchone()[0]
    except sqlite3.OperationalError:
        return default


def finished():
    return count("SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')")


def check_consistent(study):
    """No trial is lost, doubled or without a reason, and the file is sound."""
    trials = study.get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert TrialState.RUNNING not in {trial.state for trial in trials}
    for trial in trials:
        if trial.state is TrialState.FAIL:
            assert trial.user_attrs[FAILURE_KEY]
        if RETRY_KEY in trial.user_attrs:
            first = trials[trial.user_attrs[RETRY_KEY]]
            assert (first.state, first.user_attrs[SEED_KEY]) == (TrialState.FAIL, trial.user_attrs[SEED_KEY])
    assert count("PRAGMA integrity_check") == "ok"


def test_chaos(write, start, wait_for, read_study, readers, dashboard):
    keys = {"trials": "200", "report_timeout": "3", "max_failures": "200"}
    write(study={"objective": '"objectives:chaos"', **keys}, sampler={"name": '"random"'}, pruner={"name": '"none"'})
    driver = start("launch", "demo.toml", "--workers", 4, "--quiet")
    wait_for(lambda: finished() > 0)
    readers.add(dashboard(), pause=0.5)
    for goal in (50, 100, 150):
        wait_for(lambda: finished() >= goal or driver.poll() is not None)  # noqa: B023
        assert driver.poll() is None
        driver.kill()
        driver.wait()
        driver = start("launch", "demo.toml", "--workers", 4, "--quiet")
    _, err = driver.communicate()
    assert (driver.returncode, err) == (0, "")
    readers.stop()
    assert readers.errors == []
    assert readers.reads > 10

    study = read_study()
    check_consistent(study)
    states = [trial.state for trial in study.trials]
    assert sum(state in FINISHED for state in states) == 200, "exactly its budget"
    reasons = {trial.user_attrs[FAILURE_KEY] for trial in study.trials if trial.state is TrialState.FAIL}
    assert reasons == {
        "the worker process was killed by SIGKILL (out of memory?)",
        "no report for 3 s (report_timeout); the worker was killed",
        "OwnError: chaos",
        "the driver died while this trial was running",
    }
    for trial in study.trials:
        if trial.user_attrs.get(FAILURE_KEY) == "OwnError: chaos":
            assert "Traceback" in traceback_of(trial)


def test_chaos_with_a_fidelity(write, start, wait_for, read_study):
    keys = {"objective": '"objectives:ChaoticClimbing"', "trials": "120", "report_timeout": "3", "max_failures": "200"}
    epochs = '{ type = "int", low = 1, high = 8, fidelity = true }'
    write(study=keys, space={"epochs": epochs}, sampler={"name": '"random"'}, pruner=None, objective={"pause": "0.01"})
    begun = "SELECT COUNT(*) FROM trials WHERE state <> 'FAIL'"
    driver = start("launch", "demo.toml", "--workers", 4, "--quiet")
    for goal in (20, 45, 70, 95):
        wait_for(lambda: count(begun) >= goal or driver.poll() is not None)  # noqa: B023
        assert driver.poll() is None
        driver.kill()
        driver.wait()
        driver = start("launch", "demo.toml", "--workers", 4, "--quiet")
    _, err = driver.communicate()
    assert (driver.returncode, err) == (0, "")
    study = read_study()
    check_consistent(study)
    states = [trial.state for trial in study.trials]
    assert sum(state in FINISHED for state in states) == 120, "exactly its budget, and none is paused"
    assert TrialState.WAITING not in states
    for trial in study.trials:
        if trial.state in FINISHED:
            assert trial.params["epochs"] == max(rungs_of(trial))
            assert trial.value == straight(trial)


def test_sixteen_readers_disturb_nobody(write, search, start, wait_for, read_study, readers, dashboard, environment):
    write(study={"objective": '"objectives:Parabola"', "trials": "80"}, objective={"pause": "0.1"})
    driver = start("launch", "demo.toml", "--workers", 4, "--quiet")
    wait_for(lambda: finished() > 0)
    optuna_command = [sys.executable, "-c", "from optuna.cli import main; raise SystemExit(main())"]
    command = [*optuna_command, "trials", "--study-name", "demo", "--storage", "sqlite:///demo.db"]

    def list_trials():
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=PATIENCE_S)

    readers.add(dashboard())
    for _ in range(2):
        readers.add(list_trials)
    for _ in range(13):
        study = read_study()
        readers.add(lambda study=study: study.get_trials(deepcopy=False))
    _, err = driver.communicate()
    readers.stop()
    assert (driver.returncode, err, readers.errors) == (0, "", [])
    check_consistent(read_study())
    assert finished() == 80


def test_an_interrupt_at_ten_random_moments_leaves_a_study_that_can_be_resumed(write, start, search, read_study, results):
    write(study={"objective": '"objectives:Parabola"', "trials": "60"}, objective={"pause": "0.03"})
    search("launch", "demo.toml", "--storage", "sqlite:///undisturbed.db", "--quiet")
    moments = random.Random(0)
    ends = []
    for _ in range(10):
        driver = start("launch", "demo.toml")
        time.sleep(moments.uniform(0.3, 3.0))
        os.killpg(driver.pid, signal.SIGINT)
        out, err = driver.communicate()
        ends.append(driver.returncode)
        # Before Python or `search` has its handlers, ^C ends it as it ends any program: nothing has been begun by then.
        assert driver.returncode in (0, 130, -signal.SIGINT), err
        if driver.returncode == 130 and " started: " in out:
            assert "To go on: search launch demo.toml" in out
        if finished():
            check_consistent(read_study())
    assert ends.count(130) >= 5
    search("launch", "demo.toml", "--quiet")
    whole = optuna.load_study(study_name="demo", storage="sqlite:///undisturbed.db")
    assert results(read_study()) == results(whole)
