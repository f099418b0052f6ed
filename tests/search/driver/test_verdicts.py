"""What the driver makes of workers that die, hang, run out of memory or cannot start: they follow a script, and so does time.

The same with real processes: test_launch.py.
"""

import contextlib
import io
import os
import signal
import threading
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.driver.budget import BudgetUsage
from search.driver.legs import settle
from search.errors import ObjectiveError, StudyError, WorkerError
from search.records.attributes import BEAT_KEY, FAILURE_KEY, RETRY_KEY, SEED_KEY, failure_of, owner_of
from search.records.constraints import MEMORY_CONSTRAINT
from search.storage.open import close, create_study, open_study
from search.study_file.fidelity import Fidelity
from search.workers.protocol import Changed, Died, Outcome, Ready, Report, ReportReply, RunTrial, Stop
from tests.search.servers import SERVERS

NO_PRUNER = {"name": '"none"'}
ENDED_WITH_7 = "the worker process ended with exit code 7"


class ScriptedExecutor:
    """Plays the workers of a launch.

    Args:
        clock: Passes where no worker speaks.
        play: Yields what a worker says of a task, with None for silence, and a list for what is received together; its second
            argument counts the worker's trials from 1.
        starts: What those that are started say, one after the other; after these, that they are ready.

    Attributes:
        started: How many were started.
        undying: Whether workers live on when they are killed.
        left: The reasons that those were given which were told to leave.
        stops: For each time that all were ended, whether at once.
    """

    def __init__(self, clock, play, starts=()):
        self.started, self.left, self.undying, self.stops = 0, [], False, []
        self._clock, self._play, self._starts = clock, play, iter(starts)
        self._said, self._trials, self._running, self._unkilled = {}, {}, {}, set()

    def start(self, worker):
        self.started += 1
        self._trials[worker] = 0
        self._said[worker] = iter([next(self._starts, Ready())])

    def has_place(self, worker):
        return worker not in self._unkilled

    def send(self, worker, message):
        if worker not in self._said:
            return
        match message:
            case RunTrial():
                self._trials[worker] += 1
                self._running[worker] = message.number
                self._said[worker] = self._play(message, self._trials[worker])
            case ReportReply(stop=True):  # which a worker hears at its next report
                self._said[worker] = iter([Outcome(self._running[worker], "interrupted")])
            case Stop(reason):
                self.left.append(reason)
                self._said[worker] = iter([Died("the worker process ended with exit code 0")])

    def receive(self, timeout_s):
        heard = [(worker, one) for worker, script in self._said.items() if (one := next(script, None)) is not None]
        said = [(worker, message) for worker, one in heard for message in (one if isinstance(one, list) else [one])]
        for worker, message in said:
            if isinstance(message, Died):
                del self._said[worker]
        if not said:
            self._clock.pass_(timeout_s)
        return said

    def kill(self, worker):
        del self._said[worker]
        self._unkilled |= {worker} if self.undying else set()

    def stop(self, *, at_once=False):
        self.stops.append(at_once)
        self._said.clear()


def complete(task, _nth):
    yield Outcome(task.number, "complete", (task.params["x"],))


@pytest.fixture
def script(clock):
    """Makes an executor of `play`, which is given each task; what it leaves out is a trial that completes."""

    def make(play, starts=()):
        def played(task, nth):
            yield from play(task, nth) or complete(task, nth)

        return ScriptedExecutor(clock, played, starts)

    return make


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def printed(console):
    return console.file.getvalue()


def names(study):
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("reason", [ENDED_WITH_7, "the worker process was killed by SIGKILL (out of memory?)"])
def test_what_a_worker_died_of_is_recorded_and_its_trial_is_tried_again(drive, script, reason):
    executor = script(lambda task, _: [Died(reason)] if task.number == 1 else None)
    study = drive(executor=executor, study={"trials": "3"})
    assert names(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    lost, retry = study.trials[1:3]
    assert lost.user_attrs[FAILURE_KEY] == reason
    assert (retry.user_attrs[RETRY_KEY], retry.user_attrs[SEED_KEY]) == (1, lost.user_attrs[SEED_KEY])
    assert retry.params == lost.params
    assert executor.started == 2, "it is replaced"


def test_no_worker_is_started_for_whom_there_is_no_trial(drive, script):
    """Each takes a backend's memory, and maybe a device."""
    executor = script(complete)
    assert names(drive(executor=executor, workers=8, study={"trials": "3"})) == ["COMPLETE"] * 3
    assert executor.started == 3


def test_the_last_point_of_a_grid_is_tried_again_too(drive, script):
    executor = script(lambda task, _: [Died(ENDED_WITH_7)] if task.number == 2 else None)
    grid = {"space": {"x": '{ type = "int", low = 0, high = 2 }'}, "sampler": {"name": '"grid"'}}
    study = drive(executor=executor, study={"trials": "9"}, **grid)
    assert (study.user_attrs["reason"], names(study)) == ("grid", ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"])


def test_what_a_trial_says_after_its_end_is_recorded_nowhere(drive, script):
    """A thread that it has left may speak while its worker waits, or is at the next trial."""

    def late(task, _nth):
        stale, own = Report(0, 100.0, 7), Report(task.number, 0.5, 0)
        end = Outcome(task.number, "complete", (0.5,))
        return {0: [own, end, stale, stale], 1: [None, None, None, own, end], 2: [[stale, own, stale], end]}[task.number]

    study = drive(executor=script(late), workers=2, study={"trials": "2"}, pruner=NO_PRUNER)
    study = drive(study, executor=script(late), trials=3, pruner=NO_PRUNER)
    assert names(study) == ["COMPLETE"] * 3
    assert [trial.intermediate_values for trial in study.trials] == [{0: 0.5}] * 3


def test_a_driver_shows_that_it_lives_with_the_trial_that_began_first(drive, script):
    """Whatever its worker's number: who looks now and then may see no other, as they are short."""

    def play(task, _nth):
        yield from [None] * (400 if task.number == 1 else 5)
        yield from complete(task, _nth)

    study = drive(executor=script(play), workers=2, study={"trials": "40"}, pruner=NO_PRUNER)
    assert names(study) == ["COMPLETE"] * 40
    assert [trial.number for trial in study.trials if BEAT_KEY in trial.system_attrs] == [1]


@pytest.mark.parametrize("kind", ["its outcome", "the outcome of another worker"])
def test_nothing_is_given_to_a_worker_whose_death_is_heard_of_together_with(drive, script, kind):
    """It would be blamed on a trial that has not run."""

    def last_words(task, nth):
        outcome, death = next(complete(task, nth)), Died(ENDED_WITH_7)
        return {
            ("its outcome", 1): [[outcome, death]],
            # Nothing is left for the first worker, until the trial of the second has failed.
            ("the outcome of another worker", 0): [outcome, None, death],
            ("the outcome of another worker", 1): [None, None, Outcome(1, "failed", reason="fell")],
        }.get((kind, task.number))

    trials = 2 if kind == "the outcome of another worker" else 4
    study = drive(executor=script(last_words), workers=2, study={"trials": str(trials), "max_retries": "0"})
    failed = [] if kind == "its outcome" else [1]
    assert [trial.number for trial in study.trials if trial.state is TrialState.FAIL] == failed
    assert names(study).count("COMPLETE") == trials


@pytest.mark.parametrize("dies", [True, False])
def test_a_trial_that_goes_on_and_fails_for_good_gives_its_place_in_the_budget_to_another(drive, script, dies):
    def fall(task, _nth):
        if task.params["epochs"] > 1 and task.number < 2:
            return iter([Died(ENDED_WITH_7) if dies else Outcome(task.number, "failed", reason="fell")])

    epochs = '{ type = "int", low = 1, high = 4, fidelity = true }'
    study = drive(executor=script(fall), pruner=None, study={"trials": "1"}, space={"epochs": epochs})
    assert study.user_attrs["reason"] == "budget"
    assert names(study) == ["FAIL", "FAIL", "COMPLETE"], "its retry fails, too" if dies else "so does the second"


@pytest.mark.parametrize("server", SERVERS)
def test_what_another_driver_ends_of_this_ones_paused_trials_counts(request, drive, script, server):
    url = request.getfixturevalue(server).new_database()
    ended = []

    def settle_beside(task, _nth):
        """As a driver that joined does, where it takes the study to be over."""
        if task.number == 6 and not ended:
            study = open_study(url, "demo", writable=True)
            ended.extend(settle(study, Fidelity("epochs", optuna.distributions.IntDistribution(1, 4))))
            close(study)

    epochs = '{ type = "int", low = 1, high = 4, fidelity = true }'
    study = create_study(url, "demo", ["minimize"], ["x"])
    tables = {"study": {"trials": "12"}, "pruner": None, "space": {"epochs": epochs}}
    drive(study, executor=script(settle_beside), **tables)
    assert len(ended) >= 4
    assert len(study.trials) == 12
    assert set(names(study)) == {"COMPLETE", "PRUNED"}
    close(study)


@pytest.mark.parametrize("server", SERVERS)
def test_however_much_is_said_of_a_failure_a_server_keeps_it_and_the_launch_goes_on(request, drive, script, server):
    said = "Grüße " * 20_000

    def play(task, nth):
        if task.number == 1:
            return iter([Died(said)])
        if task.number in (3, 4):
            return iter([Outcome(task.number, "failed", reason=said, traceback=said, out_of_memory=task.number == 4)])
        return None

    study = create_study(request.getfixturevalue(server).new_database(), "demo", ["minimize"], ["x"])
    drive(study, executor=script(play), study={"trials": "6", "max_retries": "1"})
    assert names(study)[:4] == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]
    assert "RUNNING" not in names(study)
    assert [failure_of(study.trials[number])[:1000] == said[:1000] for number in (1, 3, 4)] == [True] * 3
    close(study)


def test_a_worker_that_is_silent_for_too_long_is_killed_and_its_trial_tried_again_once(drive, script, console):
    def hang(task, _nth):
        if task.number in (1, 2):
            return iter([Report(task.number, 0.0, 0)])
        return None

    keys = {"trials": "3", "report_timeout": "1", "max_retries": "1"}
    study = drive(executor=script(hang), console=console, study=keys)
    assert names(study) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    reason = "no report for 1 s (report_timeout); the worker was killed"
    assert [trial.user_attrs.get(FAILURE_KEY) for trial in study.trials] == [None, reason, reason, None, None]
    assert [trial.user_attrs.get(RETRY_KEY) for trial in study.trials] == [None, None, 1, None, None], "tried again once"
    assert f"trial 1 failed, and is tried again: {reason}" in printed(console)
    assert f"trial 2 failed: {reason}" in printed(console)


def hang_at(number):
    return lambda task, _nth: iter([Report(task.number, 0.0, 0)]) if task.number == number else None


def test_a_worker_that_cannot_be_killed_is_left_where_it_is_and_the_others_go_on(drive, script, console):
    executor = script(hang_at(1))
    executor.undying = True
    study = drive(executor=executor, console=console, workers=2, study={"trials": "6", "report_timeout": "1"})
    assert names(study).count("COMPLETE") == 6
    assert study.trials[1].user_attrs[FAILURE_KEY] == (
        "no report for 1 s (report_timeout); the worker cannot be killed: is its GPU lost?"
    )
    assert executor.started == 2
    hung = owner_of(study.trials[1])["worker"]
    assert {owner_of(trial)["worker"] for trial in study.trials[2:]} == {1 - hung}


def test_a_launch_ends_where_no_worker_can_be_killed(drive, script):
    executor = script(hang_at(1))
    executor.undying = True
    study = optuna.create_study()
    with pytest.raises(WorkerError, match=r"workers: one must be able to start; got .* cannot be killed\. Is the GPU lost"):
        drive(study, executor=executor, study={"trials": "6", "report_timeout": "1"})
    assert names(study) == ["COMPLETE", "FAIL", "WAITING"], "the next launch takes it up"


def run_out(above, leaks=False):
    """What `objectives:run_out` does."""

    def play(task, nth):
        if task.params["x"] > above and not (leaks and nth == 1):
            return iter([Outcome(task.number, "failed", reason="MemoryError: cannot allocate 3 TiB", out_of_memory=True)])
        return None

    return play


def test_a_config_is_infeasible_where_it_needs_too_much_memory_in_a_fresh_worker(drive, script, console):
    study = drive(executor=script(run_out(above=0.0)), console=console, study={"trials": "8"})
    assert set(names(study)) == {"COMPLETE", "PRUNED", "FAIL"}
    tried_twice = {trial.user_attrs[RETRY_KEY]: trial for trial in study.trials if RETRY_KEY in trial.user_attrs}
    for trial in study.trials:
        assert (trial.user_attrs.get(FAILURE_KEY) is not None) == (trial.params["x"] > 0)
        if trial.state is TrialState.FAIL:
            assert tried_twice[trial.number].constraints == {MEMORY_CONSTRAINT: 1.0}
    assert "worker 0 is replaced: memory ran out in it" in printed(console)
    assert "infeasible: MemoryError: cannot allocate 3 TiB" in printed(console)
    assert "3 infeasible" in printed(console)


def test_memory_that_ran_out_in_a_used_worker_is_not_held_against_the_config(drive, script):
    study = drive(executor=script(run_out(above=-11.0, leaks=True)), study={"trials": "6"})
    assert set(names(study)) == {"COMPLETE", "FAIL"}


ILLEGAL = "XlaRuntimeError: INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"


def test_a_worker_whose_device_failed_costs_one_try_of_one_trial_and_is_replaced(drive, script, console):
    """All that it is given fails too."""
    broken = []

    def play(task, nth):
        broken[:] = broken if nth > 1 else []
        if task.number == 1 or broken:
            broken.append(task.number)
            return iter([Outcome(task.number, "failed", reason=ILLEGAL, device_failed=True)])
        return None

    study = drive(executor=script(play), console=console, study={"trials": "6"})
    assert names(study) == ["COMPLETE", "FAIL", *["COMPLETE"] * 5]
    assert study.trials[2].user_attrs[RETRY_KEY] == 1
    assert study.trials[2].params == study.trials[1].params
    assert "worker 0 is replaced: its device failed" in printed(console)


def test_a_config_that_breaks_the_device_itself_fails_once_it_has_been_tried_again(drive, script):
    def play(task, _nth):
        if task.number in (1, 2):
            return iter([Outcome(task.number, "failed", reason=ILLEGAL, device_failed=True)])
        return None

    executor = script(play)
    study = drive(executor=executor, study={"trials": "4", "max_retries": "1"})
    assert names(study) == ["COMPLETE", "FAIL", "FAIL", *["COMPLETE"] * 3]
    assert [trial.user_attrs.get(RETRY_KEY) for trial in study.trials] == [None, None, 1, None, None, None]
    assert executor.started == 3


def test_a_device_that_fails_whoever_uses_it_is_given_up_and_the_others_go_on(drive, clock, capsys):
    class Lost(ScriptedExecutor):
        """Whoever is worker 1 has a GPU that is lost."""

        def send(self, worker, message):
            self.at = worker
            super().send(worker, message)

    def play(task, nth):
        if executor.at == 1:
            return iter([Outcome(task.number, "failed", reason=ILLEGAL, device_failed=True)])
        return complete(task, nth)

    executor = Lost(clock, play)
    study = drive(executor=executor, workers=2, study={"trials": "20"})
    assert names(study).count("COMPLETE") == 20
    assert names(study).count("FAIL") == 5
    warned = capsys.readouterr().err
    assert "warning: worker 1: its device failed, as it did before; none takes its place." in warned
    assert warned.count("\n") == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_an_objective_that_breaks_all_devices_ends_the_launch_and_is_named(drive, script, workers):
    executor = script(lambda task, _: iter([Outcome(task.number, "failed", reason=ILLEGAL, device_failed=True)]))
    with pytest.raises(ObjectiveError, match=r"20 trials in a row failed, .* illegal memory access"):
        drive(executor=executor, workers=workers, study={"trials": "100", "max_failures": "20"})


@pytest.mark.parametrize(
    ("keys", "memory", "why"),
    [
        ({"worker_trials": "2"}, 0, "2 trials run (worker_trials)"),
        ({"worker_memory": '"400MB"'}, 250 << 20, "in use after a trial, more than worker_memory = 400 MB"),
    ],
)
def test_a_worker_is_replaced_between_trials(drive, script, console, keys, memory, why):
    executor = script(lambda task, nth: iter([Outcome(task.number, "complete", (1.0,), memory=memory * nth)]))
    study = drive(executor=executor, console=console, study={"trials": "6", **keys})
    assert names(study) == ["COMPLETE"] * 6
    assert executor.started == 3
    lines = [line for line in printed(console).splitlines() if line.startswith("worker 0 is replaced: ")]
    assert len(lines) == len(executor.left) == 2
    assert all(why in text for text in [*lines, *executor.left])


@pytest.mark.parametrize(
    ("keys", "trials", "reason"),
    [
        ({"max_reports": "9"}, 3, "reports"),
        ({"max_device_time": '"50s"'}, 5, "device_time"),
        ({"patience": "3"}, 4, "patience"),
    ],
)
def test_budgets_hold_over_launches(drive, script, clock, keys, trials, reason):
    def play(task, _nth):
        for step in range(4):
            clock.pass_(3.0)
            yield Report(task.number, 0.0, step)
        yield Outcome(task.number, "complete", (1.0,))

    study = optuna.create_study(direction="maximize")
    for _ in range(2):
        drive(study, executor=script(play), study={"trials": "50", **keys}, pruner=NO_PRUNER)
        assert study.user_attrs["reason"] == reason
        assert len(study.trials) == trials, "the second time there is nothing left to use"


def test_a_launch_that_resumes_has_used_what_the_one_before_it_counted(drive, script, clock, monkeypatch):
    """With a fidelity: of trials that are paused, that went on, that died on their way, and that were tried again."""
    monkeypatch.setattr("search.driver.driver.settle", lambda *_: [])  # as ^C has it

    def play(task, nth):
        epochs = task.params["epochs"]
        for step in range(epochs // 2, epochs):
            clock.pass_(1.0)
            yield Report(task.number, task.params["x"], step)
            if deaths and step == deaths[-1]:
                deaths.pop()
                yield Died(ENDED_WITH_7)
        yield from complete(task, nth)

    study, deaths = optuna.create_study(direction="maximize"), [6, 2, 1]
    for trials in (3, 6, 9):
        usage = BudgetUsage.of(study)
        tables = {"study": {"trials": str(trials)}, "space": {"epochs": '{ type = "int", low = 1, high = 8, fidelity = true }'}}
        monkeypatch.setattr("search.driver.driver.BudgetUsage", SimpleNamespace(of=lambda *_, usage=usage: usage))
        drive(study, executor=script(play), workers=2, pruner=NO_PRUNER, **tables)
        again = BudgetUsage.of(study)
        assert (again.finished, again.paused, again.reports) == (usage.finished, usage.paused, usage.reports)
        assert again.trial_seconds == pytest.approx(usage.trial_seconds, abs=0.01)
        assert again.finished + again.paused == trials
    assert names(study).count("FAIL") == 3


CANNOT_START = Died("the worker process ended with exit code 3")


def dies_first(task, _nth):
    return iter([Died(ENDED_WITH_7)]) if task.number == 0 else None


def test_a_worker_that_could_start_before_gets_another_chance(drive, script):
    executor = script(dies_first, starts=[Ready(), CANNOT_START, CANNOT_START])
    assert names(drive(executor=executor, study={"trials": "2"})) == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("starts", [[CANNOT_START], [Ready(), CANNOT_START, CANNOT_START, CANNOT_START]])
def test_a_first_start_that_fails_and_three_later_ones_in_a_row_end_the_launch(drive, script, starts):
    with pytest.raises(WorkerError, match="worker 0: must start; got: the worker process ended with exit code 3"):
        drive(executor=script(dies_first, starts), study={"trials": "2"})


def test_failures_in_a_row_end_the_launch(drive, script):
    executor = script(lambda task, _: iter([Outcome(task.number, "failed", reason="OwnError: the disk is full")]))
    with pytest.raises(ObjectiveError, match=r"3 trials in a row failed, the last one \(trial 2\) because: OwnError: the disk"):
        drive(executor=executor)


@pytest.mark.parametrize("climbs", [True, False])
def test_failures_far_apart_are_not_in_a_row(drive, script, climbs):
    """What is paused has run well, too: with a fidelity hardly a trial is complete before the end."""

    def play(task, _nth):
        failed = Outcome(task.number, "failed", reason="an odd config")
        return iter([failed]) if task.number in (3, 6, 9, 12) else None

    space = {"epochs": '{ type = "int", low = 1, high = 4, fidelity = true }'} if climbs else {}
    study = drive(executor=script(play), space=space, study={"trials": "12"}, sampler={"name": '"random"'}, pruner=NO_PRUNER)
    assert study.user_attrs["reason"] == "budget"
    assert names(study).count("FAIL") == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("pruner", [{"name": '"median"'}, NO_PRUNER], ids=["asked", "unasked"])
def test_the_first_interrupt_ends_trials_at_their_next_report_and_the_study_goes_on(
    drive, script, results, console, number, pruner
):
    def reports(task, _nth):
        for step in range(3):
            yield Report(task.number, task.params["x"], step)
        yield from complete(task, _nth)

    def interrupted(task, _nth):
        for report in reports(task, _nth):
            if task.number == 2 and getattr(report, "step", 0) == 1:
                os.kill(os.getpid(), number)
            yield report

    tables = {"study": {"trials": "6"}, "pruner": pruner}
    study = drive(executor=script(interrupted), console=console, **tables)
    assert study.user_attrs["reason"] == "interrupted"
    assert names(study)[2:] == ["FAIL", "WAITING"]
    assert study.trials[2].user_attrs[FAILURE_KEY] == "interrupted"
    assert "stopping: each running trial ends at its next report" in printed(console)
    drive(study, executor=script(reports), **tables)
    assert results(study) == results(drive(executor=script(reports), **tables))


def test_what_fails_once_a_driver_was_told_to_end_is_taken_up_again(drive, script, console):
    """What an objective has started hears Slurm's SIGTERM too, and its end is what the objective raises, as a rule."""

    def play(task, _nth):
        os.kill(os.getpid(), signal.SIGTERM)
        yield Outcome(task.number, "failed", reason="a worker of its own was killed by SIGTERM")

    study = drive(executor=script(play), console=console, study={"trials": "3", "max_retries": "0"})
    assert study.user_attrs["reason"] == "interrupted"
    assert names(study) == ["FAIL", "WAITING"]
    assert study.trials[0].user_attrs[FAILURE_KEY] == "interrupted"
    assert "trial 0 interrupted: a worker of its own was killed by SIGTERM in " in printed(console)


def test_an_objective_that_catches_everything_is_still_interrupted(drive):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    study = drive(study={"objective": '"objectives:swallow"', "trials": "3"})
    assert study.user_attrs["reason"] == "interrupted"
    assert study.trials[0].user_attrs[FAILURE_KEY] == "interrupted"


def unanswered(executor):
    """Has workers hear nothing while they run a trial."""
    executor.send = lambda worker, message, send=executor.send: (
        None if isinstance(message, ReportReply) else send(worker, message)
    )
    return executor


def test_the_second_interrupt_ends_at_once(drive, script):
    def deaf(task, _nth):
        os.kill(os.getpid(), signal.SIGINT)
        yield Report(task.number, 0.0, 0)
        os.kill(os.getpid(), signal.SIGINT)
        yield None

    executor = unanswered(script(deaf))
    study = drive(executor=executor)
    assert (study.user_attrs["reason"], names(study)) == ("interrupted", ["FAIL", "WAITING"])


@pytest.mark.parametrize("climbs", [True, False])
@pytest.mark.parametrize("ends", ["interrupted", "refused"])
def test_what_a_trial_ran_that_is_given_back_at_once_counts(drive, script, clock, ends, climbs):
    """In all its legs; and though the wall clock was set meanwhile."""

    def play(task, nth):
        clock.pass_(3.0)
        if task.params.get("epochs") == 1:
            yield from complete(task, nth)
        elif ends == "refused":
            yield Changed("the data changed")
        else:
            os.kill(os.getpid(), signal.SIGINT)
            yield Report(task.number, 0.0, 0)
            os.kill(os.getpid(), signal.SIGINT)
            yield None

    executor, study = unanswered(script(play)), optuna.create_study()
    space = {"epochs": '{ type = "int", low = 1, high = 4, fidelity = true }'} if climbs else {}
    with pytest.raises(StudyError) if ends == "refused" else contextlib.nullcontext():
        drive(study, executor=executor, space=space, pruner=NO_PRUNER)
    assert names(study) == ["FAIL", "WAITING"]
    assert executor.stops[0], "who is at work for nobody, and may take the last word for an answer, is not waited for"
    assert BudgetUsage.of(study).trial_seconds == pytest.approx(6.0 if climbs else 3.0, abs=0.5)
