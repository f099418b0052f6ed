import importlib
import os
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.errors import ObjectiveError
from search.study_file.env import AsWritten
from search.workers.activity import Interrupted
from search.workers.process import WorkerSetup, as_values, build_objective, describe, run_trial, serve
from search.workers.protocol import RunTrial


class Trial:
    number = 0
    params = {"x": 1.0}  # noqa: RUF012
    user_attrs = {"seed": 0}  # noqa: RUF012

    def suggest_float(self, name, low, high):
        return self.params[name]

    def report(self, value, step): ...

    def should_prune(self):
        return False

    def set_user_attr(self, key, value):
        self.key = (key, value)


def test_a_class_is_built_once_and_called_for_each_trial():
    objective: Any = build_objective("objectives:Parabola", {"note": "hello"})
    trial = Trial()
    objective(trial)
    objective(trial)
    assert objective.trials == 2
    assert trial.key == ("note", "hello")


def test_a_function_gets_the_settings_with_each_trial():
    assert build_objective("objectives:parabola", {"steps": 1})(Trial()) == -1.0


@pytest.mark.parametrize(
    "say",
    [
        lambda trial: trial.report(1.0, 7),
        lambda trial: trial.set_user_attr("key", 1),
        lambda trial: trial.upload_artifact("a.txt", b""),
    ],
)
def test_a_thread_that_a_trial_has_left_cannot_speak_in_the_next(say):
    left = []
    ours, theirs = Pipe()
    task = RunTrial(0, {"x": 1.0}, {"seed": 0}, answered=False)
    assert run_trial(lambda trial: left.append(trial) or 1.0, task, theirs, AsWritten(), lambda _: None).state == "complete"
    with pytest.raises(Interrupted):
        say(left[0])
    assert not ours.poll()


@pytest.mark.parametrize(
    ("error", "flags"),
    [
        (MemoryError(), (True, False)),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), (False, True)),
        (ValueError("x"), (False, False)),
    ],
    ids=str,
)
def test_what_a_trial_raised_says_whether_memory_or_the_device_is_to_blame(error, flags):
    def fall(trial):
        raise error

    outcome = run_trial(fall, RunTrial(0, {}, {}), Pipe()[0], AsWritten(), lambda _: None)
    assert (outcome.state, outcome.out_of_memory, outcome.device_failed) == ("failed", *flags)


def test_what_a_trial_needs_is_imported_before_the_worker_is_ready(folder):
    """A first trial that waits for it looks as if it hung."""
    Path("plain.py").write_text("def objective(trial):\n    return 1.0\n")
    Path("run.py").write_text(
        "import sys\nfrom search.workers.process import WorkerSetup, serve\nfrom search.workers.protocol import Ready\n"
        "sys.path.insert(0, '.')\n"
        "class Driver:\n"
        "    def send(self, message):\n"
        "        assert isinstance(message, Ready), message\n"
        "        self.before = set(sys.modules)\n"
        "    def recv(self):\n"
        "        raise EOFError\n"
        "    poll = lambda self, *_: True\n"
        "driver = Driver()\nserve(driver, WorkerSetup('plain:objective', {}))\nprint('optuna' in driver.before)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "run.py"], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_driver_that_hangs_up_during_a_trial_is_an_end_like_another(folder):
    (folder / "hanging.py").write_text("driver = None\ndef objective(trial):\n    driver.close()\n    return 1.0\n")
    hanging: Any = importlib.import_module("hanging")

    hanging.driver, theirs = Pipe()
    hanging.driver.send(RunTrial(0, {}, {}, 1))
    serve(theirs, WorkerSetup("hanging:objective", {}))
    assert hanging.driver.closed


@pytest.mark.parametrize(
    ("target", "settings", "words"),
    [
        ("nowhere:f", {}, 'no module named "nowhere"'),
        ("objectives.deep:f", {}, 'no module named "objectives.deep"'),
        ("objectives:Parabel", {}, 'objectives has no attribute "Parabel". Did you mean "Parabola"?'),
        ("objectives:Path.home.x", {}, 'objectives has no attribute "Path.home.x"'),
        ("objectives:signal", {}, "objectives:signal must be a class or a function; got module"),
        ("objectives:OwnError", {}, "must define __call__"),
        ("objectives:Parabola", {"step": 1}, 'the unknown setting step. Did you mean "steps"?'),
        ("objectives:parabola", {"trial": 1}, "the unknown setting trial"),
        ("objectives:misbehave", {}, "[objective] does not fit: missing a required argument: 'mode'"),
    ],
)
def test_what_cannot_be_built(target, settings, words):
    with pytest.raises(ObjectiveError) as caught:
        build_objective(target, settings)
    assert words in str(caught.value)


def test_a_module_that_misses_another_one_is_not_called_missing(folder):
    (folder / "needs.py").write_text("import not_there\n")
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        build_objective("needs:f", {})


@pytest.mark.parametrize("result", [1, 1.0, np.float32(1), np.int64(1), [1.0], (1,)])
def test_one_value(result):
    assert as_values(result, 1) == (1.0,)


@pytest.mark.parametrize("result", [None, float("nan"), float("inf"), 10**400, "1.0", (1.0, 2.0), [], [None], object()])
def test_what_is_no_value(result):
    with pytest.raises(Exception, match=r"^the objective must return one number; got ") as caught:
        as_values(result, 1)
    assert "\n" not in str(caught.value)


def test_describe():
    class OwnError(Exception): ...

    assert describe(KeyError("data")) == "KeyError: 'data'"
    assert describe(OwnError("data:\n  missing")) == "data: missing"
    assert describe(Exception()) == "Exception"
    assert describe(OwnError("data"), always_type=True) == "OwnError: data"


def test_a_worker_that_the_system_has_no_thread_for_says_so_in_its_log_and_in_one_line(tmp_path):
    """In a process of its own, as `main` sends all that is printed to the log."""
    script = """
import multiprocessing, pathlib, threading
from multiprocessing import Pipe
from search.workers import process

def no_room(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = no_room
process.parent_process = multiprocessing.current_process
ours, theirs = Pipe()
process.main(theirs, process.WorkerSetup("objectives:parabola", {}, pathlib.Path("worker.log")))
pathlib.Path("said").write_text(ours.recv().reason)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "worker.log").read_text().splitlines()[1:] == ["can't start new thread"]
    rule = "a worker must start; got: can't start new thread. Start fewer, or raise the limits (ulimit -a)"
    assert (tmp_path / "said").read_text() == rule
