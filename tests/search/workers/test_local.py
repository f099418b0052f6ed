import errno
import os
import signal
import subprocess
import sys
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from search.errors import WorkerError
from search.workers import local
from search.workers.local import LocalExecutor
from search.workers.process import WorkerSetup
from search.workers.protocol import Died, Notice, Outcome, Ready, Report, ReportReply, RunTrial, StartFailed


@pytest.fixture
def make():
    executors = []

    def build(target, **settings):
        executor = LocalExecutor(lambda worker: WorkerSetup(target, settings, Path(f"{worker}.log"), {"MARK": str(worker)}))
        executors.append(executor)
        return executor

    yield build
    for executor in executors:
        executor.stop(at_once=True)


def listen(executor, until, seconds=120.0):
    """Returns all that is said up to the first message of the kind `until`."""
    said = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said += executor.receive(0.1)
        if any(isinstance(message, until) for _, message in said):
            return said
    pytest.fail(f"heard only {said}")


def pid_of(executor, worker=0):
    return executor._children[worker][0].pid


def at_work(executor):
    executor.start(0)
    listen(executor, Ready)
    executor.send(0, RunTrial(0, {}, {}))
    while not Path("deaf").exists():
        time.sleep(0.02)
    return pid_of(executor)


def test_a_trial_from_start_to_stop(make):
    executor = make("objectives:parabola", steps=1)
    executor.start(0)
    assert listen(executor, Ready) == [(0, Ready())]
    executor.send(0, RunTrial(0, {"x": 1.0}, {"seed": 0}))
    assert listen(executor, Report) == [(0, Report(0, -1.0, 0))]
    executor.send(0, ReportReply())
    assert listen(executor, Outcome) == [(0, Outcome(0, "complete", (-1.0,)))]
    pid = pid_of(executor)
    executor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("step", ["Pipe", "Process"])
def test_a_system_without_room_for_another_worker_is_not_taken_for_a_broken_storage(make, monkeypatch, step):
    executor = make("objectives:parabola")

    def full(*_args, **_options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(executor._context, step, full)
    with pytest.raises(WorkerError, match=r"worker 3: must start; got: Too many open files\. Start fewer, or raise the limits"):
        executor.start(3)


def test_where_nobody_looks_at_reports_a_worker_waits_for_no_answer_and_still_stops(make):
    executor = make("objectives:gated")
    executor.start(0)
    listen(executor, Ready)
    Path("gate").touch()
    executor.send(0, RunTrial(0, {"x": 1.0}, {"seed": 0}, answered=False))
    assert listen(executor, Outcome)[-1] == (0, Outcome(0, "complete", (-1.0,)))
    executor.send(0, ReportReply(stop=True))  # too late for that trial, and void for the next one
    executor.send(0, RunTrial(1, {"x": 1.0}, {"seed": 0}, answered=False))
    assert listen(executor, Outcome)[-1] == (0, Outcome(1, "complete", (-1.0,)))
    Path("gate").unlink()
    executor.send(0, RunTrial(2, {"x": 1.0}, {"seed": 0}, answered=False))
    executor.send(0, ReportReply(stop=True))
    Path("gate").touch()
    assert listen(executor, Outcome)[-1] == (0, Outcome(2, "interrupted"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_worker_is_born_does_not_reach_it(make, number):
    executor = make("objectives:parabola")
    executor.start(0)
    for _ in range(5):
        os.kill(pid_of(executor), number)
        time.sleep(0.02)
    assert listen(executor, (Ready, Died)) == [(0, Ready())]


def test_sigterm_ends_what_a_trial_has_started_and_not_the_trial(make):
    """Slurm sends it to every process of a task; a pool ends its own by it, and would wait for them for ever."""
    executor = make("objectives:misbehave", mode="terminate", bad=(0,))
    executor.start(0)
    listen(executor, Ready)
    executor.send(0, RunTrial(0, {"x": 1.0}, {"seed": 0}))
    assert listen(executor, (Outcome, Died))[-1] == (0, Outcome(0, "complete", (-2.0 * signal.SIGTERM,)))


def test_sigterm_ends_what_was_forked_a_moment_ago():
    """It reaches the child while that is still as its parent was; a pool that is ended at once would wait for it for ever."""
    script = """if True:
        import os, signal, time
        from search.workers.signals import leave_to_the_driver

        os.register_at_fork(after_in_child=lambda: time.sleep(1))  # before the child is told what SIGTERM does
        leave_to_the_driver()
        if (child := os.fork()) == 0:
            time.sleep(10)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{-signal.SIGTERM} set()\n", done.stderr


def test_what_an_objective_starts_begins_as_in_a_program_of_its_own(make):
    """A pool or a loader that a user's own script can have, of a function that is nowhere to be imported from."""
    Path("loads.py").write_text(
        "import multiprocessing\n"
        "def f(trial):\n"
        "    process = multiprocessing.Process(target=lambda: None)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    return process.exitcode\n"
        "def g(trial):\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    return len(multiprocessing.get_start_method())\n"
    )
    for target, value in (("loads:f", 0.0), ("loads:g", 5.0)):
        executor = make(target)
        executor.start(0)
        listen(executor, Ready)
        executor.send(0, RunTrial(0, {}, {}))
        assert listen(executor, Outcome)[-1] == (0, Outcome(0, "complete", (value,)))


def test_a_killed_worker_is_said_to_have_died_once_and_last(make, wait_for):
    executor = make("objectives:parabola")
    executor.start(0)
    listen(executor, Ready)
    executor.send(0, RunTrial(0, {"x": 1.0}, {"seed": 0}))
    wait_for(executor._children[0][1].poll)
    os.kill(pid_of(executor), signal.SIGKILL)
    said = listen(executor, Died)
    assert said[-1] == (0, Died("the worker process was killed by SIGKILL (out of memory?)"))
    assert [type(message) for _, message in said[:-1]] == [Report], "what it had said before is not lost"
    assert executor.receive(0) == []


def test_a_death_is_told_though_what_the_worker_started_lives_on(make):
    """Which has inherited its pipe, and the sentinel of its process."""
    executor = make("objectives:misbehave", mode="outlived", bad=(0,))
    executor.start(0)
    listen(executor, Ready)
    executor.send(0, RunTrial(0, {"x": 1.0}, {"seed": 0}))
    said = listen(executor, Died)
    os.kill(int(Path("outlives").read_text()), signal.SIGKILL)  # which lives still
    assert said[-1] == (0, Died("the worker process was killed by SIGKILL (out of memory?)"))


def test_a_worker_that_cannot_start_says_so_and_leaves(make):
    executor = make("objectives:NoStart")
    executor.start(0)
    said = listen(executor, Died)
    assert isinstance(said[0][1], StartFailed)
    assert said[-1] == (0, Died("the worker process ended with exit code 0"))
    assert "Traceback" in Path("0.log").read_text()


def test_a_worker_that_hangs_is_killed_and_leaves_its_stack(make):
    executor = make("objectives:deaf")
    pid = at_work(executor)
    executor.kill(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert executor.receive(0.1) == []
    assert "in deaf" in Path("0.log").read_text()
    executor.start(0)
    assert listen(executor, Ready) == [(0, Ready())]


@pytest.fixture
def undying(monkeypatch):
    """Has SIGKILL do nothing, as to a process that waits in the kernel for a lost GPU."""
    monkeypatch.setattr(local, "_SECONDS_TO_DIE", 0.1)
    monkeypatch.setattr(SpawnProcess, "kill", lambda process: None)


@pytest.mark.parametrize("ends", ["kill", "its pipe"])
def test_nobody_waits_for_a_worker_that_cannot_be_killed(make, wait_for, monkeypatch, undying, ends):
    monkeypatch.setattr(local, "_SECONDS_TO_LEAVE", 0.1)
    executor = make("objectives:deaf")
    pid = at_work(executor)
    if ends == "kill":
        executor.kill(0)
    else:
        executor._children[0][1].close()  # as where it hangs on its way out
        died = Died("the worker process cannot be killed: is its GPU lost?")
        with monkeypatch.context() as patch:
            patch.setattr(local, "wait", lambda *_: [])
            assert executor.receive(0.1) == [(0, died)]
    assert not executor.has_place(0)
    [(worker, notice)] = executor.receive(0.1)
    assert (worker, type(notice)) == (0, Notice)
    assert "worker 0: the worker process cannot be killed: is its GPU lost? Going on without" in notice.text
    assert executor.receive(0.1) == []
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: executor.has_place(0))
    executor.start(0)
    assert listen(executor, Ready) == [(0, Ready())]


def test_nor_does_the_end_of_the_launch_or_of_python(folder):
    """Also where Python waits for its resource tracker, as newer ones do."""
    Path("run.py").write_text(
        "import multiprocessing.resource_tracker as tracker, time\n"
        "from multiprocessing.context import SpawnProcess\n"
        "from search.workers import local\nfrom search.workers.process import WorkerSetup\n"
        "if __name__ == '__main__':\n"
        "    tracker.ResourceTracker.__del__ = lambda self: self._stop()\n"
        "    local._SECONDS_TO_DIE = local._SECONDS_TO_LEAVE = 0.1\n"
        "    SpawnProcess.kill = lambda process: None\n"
        "    executor = local.LocalExecutor(lambda worker: WorkerSetup('lives:f', {}))\n"
        "    executor.start(0)\n"
        "    while not executor._children[0][1].poll(1.0): pass\n"
        "    executor.send(0, local.Stop())\n"
        "    executor.stop(at_once=True)\n"
    )
    Path("lives.py").write_text(
        "import atexit, os, threading, time\n"
        "os._exit = lambda code: None\n"
        "threading.Thread(target=time.sleep, args=(20,)).start()\n"
        "def f(trial): ...\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "run.py"], check=True, timeout=60)
    assert time.monotonic() - began < 15


def test_a_kill_for_want_of_memory_is_told_apart(make, monkeypatch):
    executor = make("objectives:parabola")
    executor.start(0)
    listen(executor, Ready)
    monkeypatch.setattr(executor._oom_kills, "account", lambda: True)
    os.kill(pid_of(executor), signal.SIGKILL)
    death = Died("the worker process was killed by SIGKILL: the host ran out of memory", out_of_memory=True)
    assert listen(executor, Died) == [(0, death)]


def test_the_environment_is_set_before_the_objective_is_imported(make):
    Path("reads.py").write_text("import os\nMARK = os.environ['MARK']\ndef f(trial):\n    return float(MARK)\n")
    executor = make("reads:f")
    executor.start(7)
    listen(executor, Ready)
    executor.send(7, RunTrial(0, {}, {}))
    assert listen(executor, Outcome)[-1] == (7, Outcome(0, "complete", (7.0,)))
    assert "MARK" not in os.environ, "the driver's own is left as it was"
