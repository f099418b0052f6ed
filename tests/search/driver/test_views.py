import io
import sys
import threading
import time
import types
from dataclasses import replace

import optuna
import pytest
from rich.console import Console

from search.driver.live_table import running_table
from search.driver.progress import AtWork, Progress
from search.driver.tell import Verdict
from search.driver.views import LiveView, ProgressView, QuietView, make_view
from search.records.attributes import FAILURE_KEY
from search.records.rungs import RUNGS_KEY, Rung, as_attr
from search.records.states import DRIVER_DIED, INTERRUPTED, LAUNCH_ENDED, state_name
from search.text import clock
from tests.search.conftest import Clock


@pytest.fixture
def progress():
    study = optuna.create_study(direction="minimize")
    study.add_trial(optuna.trial.create_trial(value=3.0))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    return Progress.of(study, budget=4)


def console(**options):
    return Console(file=io.StringIO(), width=140, **options)


def test_a_board_starts_from_the_storage_and_counts_on(progress):
    assert (progress.complete, progress.pruned, progress.failed, progress.best) == (1, 0, 1, (0, 3.0))
    assert progress.seconds_left() is None
    progress.add(Verdict(2, "complete", (1.0,)))
    progress.add(Verdict(3, "complete", (2.0,)))
    progress.add(Verdict(4, "pruned"))
    assert (progress.complete, progress.pruned, progress.best) == (3, 1, (2, 1.0))
    assert progress.seconds_left() == 0
    assert progress.summary().startswith(
        "4/4 trials · best value 1 (trial 2) · 00:00 elapsed · 00:00 left · 1 pruned · 1 failed"
    )


def test_the_best_of_trials_that_climb_rungs_is_what_they_have_now(progress):
    progress.add(Verdict(2, "paused", (1.0,)))
    progress.add(Verdict(3, "paused", (1.5,)))
    assert progress.best == (2, 1.0)
    progress.add(Verdict(2, "complete", (2.0,)))
    assert progress.best == (3, 1.5), "on more epochs it did worse"
    study = optuna.create_study(direction="minimize")
    for state, value in ((optuna.trial.TrialState.WAITING, 1.5), (optuna.trial.TrialState.PRUNED, 1.0)):
        study.add_trial(optuna.trial.create_trial(state=state, system_attrs={RUNGS_KEY: as_attr({2: Rung(value, 1.0)})}))
    assert Progress.of(study, budget=4).best == (0, 1.5), "what was pruned there is no result"
    progress.add(Verdict(3, "failed", reason="no room"))
    assert progress.best == (2, 2.0)


def test_a_trial_that_is_given_back_keeps_the_value_of_its_last_rung(progress):
    """Whoever takes it up again goes on from there."""
    progress.add(Verdict(2, "paused", (1.0,)))
    for state in ("interrupted", "lost"):
        progress.add(Verdict(2, state))
    assert progress.best == (2, 1.0)


def test_each_trial_is_counted_as_one_thing_and_what_is_paused_or_infeasible_takes_its_place_in_the_budget():
    study = optuna.create_study(direction="minimize")
    too_large = {"constraints": [1.0]}
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, system_attrs=too_large))
    study.add_trial(optuna.trial.create_trial(value=float("inf"), system_attrs=too_large))
    progress = Progress.of(study, budget=9)
    assert (progress.complete, progress.pruned, progress.infeasible, progress.finished) == (0, 0, 2, 2)
    progress.add(Verdict(2, "paused", (1.0,)))
    progress.add(Verdict(3, "infeasible", reason="no room"))
    progress.add(Verdict(4, "retry", reason="died"))
    assert (progress.finished, progress.infeasible, progress.failed, progress.finished_before) == (4, 3, 1, 2)
    assert "4/9 trials" in progress.summary()


def test_the_time_that_is_left_ends_with_the_timeout(monkeypatch):
    now = Clock(monkeypatch)
    progress = Progress.of(optuna.create_study(), budget=1000, timeout_s=60.0)
    progress.started = now.now
    now.pass_(10)
    assert progress.seconds_left() == 50, "before the first trial"
    progress.add(Verdict(0, "complete", (1.0,)))
    assert progress.seconds_left() == 50, "a thousand trials would take hours"
    progress.budget = 3
    assert progress.seconds_left() == 20
    now.pass_(60)
    assert progress.seconds_left() == 0


def test_a_config_that_is_paused_has_used_its_part_of_the_time(progress, monkeypatch):
    """Most end at their first rung: by what is complete alone, a launch of 15 seconds was said to take six minutes."""
    now = Clock(monkeypatch)
    progress.started, progress.budget = now.now, 11
    for number in range(2, 7):
        now.pass_(2)
        progress.add(Verdict(number, "paused", (1.0,)))
    assert progress.seconds_left() == 10
    progress.budget = progress.finished
    assert progress.seconds_left() is None, "some may still climb"
    progress.timeout_s = 30
    assert progress.seconds_left() == 20


def test_the_view_fits_the_console(progress):
    assert type(make_view(progress, console(), quiet=True)) is QuietView
    assert type(make_view(progress, console(), quiet=False)) is ProgressView
    assert type(make_view(progress, console(force_terminal=True), quiet=False)) is LiveView


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_shown(progress, terminal):
    out = console(force_terminal=terminal)
    view = make_view(progress, out, quiet=False)
    assert isinstance(view, LiveView) == terminal
    view.open()
    view.trial_started(0, 2, {"x": 0.123456})
    view.reported(0, 1, 0.5)
    if isinstance(view, LiveView):
        view._live.refresh()
    view.trial_finished(0, 2, Verdict(2, "failed", reason="KeyError: [x]"), 62.0)
    view.interrupted(1, 1)
    view.tick()
    view.close()
    text = out.file.getvalue()
    assert "trial 2 failed: KeyError: [x] in 01:02" in text
    assert "1/4 trials · best value 3 (trial 0)" in text
    assert "0 pruned · 2 failed" in text
    assert "stopping: each running trial ends at its next report" in text
    if terminal:
        assert "x=0.1235" in text


def test_what_was_given_back_has_not_failed(progress):
    for state in ("interrupted", "lost"):
        progress.add(Verdict(5, state))
    assert progress.failed == 1
    study = optuna.create_study()
    for reason in (INTERRUPTED, LAUNCH_ENDED, DRIVER_DIED, "KeyError: 1"):
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={FAILURE_KEY: reason}))
    assert Progress.of(study, budget=4).failed == 1
    assert [state_name(trial) for trial in study.trials] == ["interrupted", "interrupted", "lost", "fail"]


def drawn(progress, width):
    out = io.StringIO()
    Console(file=out, width=width).print(running_table(progress))
    return out.getvalue().splitlines()


def test_parameters_are_cut_first(progress):
    """Trial, step, value and time are there at 80 columns, whatever the names are, and at 60 too."""
    progress.metric = "a_metric_with_a_very_long_name"
    params = {f"parameter_{number}": 0.123456 for number in range(10)}
    now = time.monotonic()
    progress.at_work = {
        0: AtWork(now - 3661, number=1234, params=params, steps=20, step=2, value=-0.123456789),
        11: AtWork(now, "cache, view 2 of 4: 28%, 61 images/s, 00:42 left", 7, params),
        12: AtWork(time.monotonic(), "reading images"),
    }
    for width in (60, 80, 120):
        head, first, second, third = drawn(progress, width)
        assert all(len(line) <= width for line in (head, first, second, third))
        assert head.split()[:5] == ["worker", "trial", "step", "a_metric_with…", "time"]
        assert first.split()[:5] == ["0", "1234", "3/20", "-0.123457", "1:01:01"]
        assert second.split()[:5] == ["11", "7", "-", "-", "00:00"]
        assert third.split()[:5] == ["12", "-", "-", "-", "00:00"]
        assert width < 80 or "cache, view 2 of 4: 28%" in second
        assert width < 80 or "reading images" in third
    assert "parameter_0=0.1235" in drawn(progress, 80)[1]


def test_one_worker_needs_no_column(progress):
    progress.at_work = {0: AtWork(time.monotonic(), number=0, params={"x": 1}, steps=5)}
    assert [line.split() for line in drawn(progress, 80)] == [
        ["trial", "step", "value", "time", "parameters"],
        ["0", "0/5", "-", "00:00", "x=1"],
    ]


def test_a_new_best_is_said(progress):
    out = console()
    view = ProgressView(progress, out)
    for number, value in ((2, 5.0), (3, 1.0)):
        view.trial_started(0, number, {})
        view.trial_finished(0, number, Verdict(number, "complete", (value,)), 1.0)
    text = out.file.getvalue()
    assert "trial 2 complete, value 5 in 00:01 |" in text
    assert "trial 3 complete, value 1 in 00:01, new best |" in text


def test_the_first_value_of_a_study_is_no_new_best():
    out = console()
    view = ProgressView(Progress.of(optuna.create_study(), budget=4), out)
    view.trial_started(0, 0, {})
    view.trial_finished(0, 0, Verdict(0, "complete", (5.0,)), 1.0)
    assert "trial 0 complete, value 5 in 00:01 |" in out.file.getvalue()


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    "next_rung",
    [
        Verdict(1, "complete", (2.0,)),  # worse than another, which is the best now
        Verdict(1, "paused", (1.5,)),  # worse than before, and the best still
        Verdict(1, "paused", (1.0,)),
        Verdict(1, "complete", (0.5,), "size 1 above its limit"),
        Verdict(1, "pruned"),
        Verdict(1, "failed", reason="no room"),
        Verdict(1, "infeasible", reason="no room"),
    ],
)
def test_no_best_is_new_where_the_best_trial_got_worse_or_is_no_result_any_more(direction, next_rung):
    sign = 1.0 if direction == "minimize" else -1.0
    view = ProgressView(Progress.of(optuna.create_study(direction=direction), budget=4), out := console())
    for verdict in (Verdict(0, "complete", (1.7,)), Verdict(1, "paused", (1.0,)), next_rung, Verdict(2, "complete", (0.9,))):
        verdict = replace(verdict, values=tuple(sign * value for value in verdict.values))
        view.trial_started(0, verdict.number, {})
        view.trial_finished(0, verdict.number, verdict, 1.0)
    lines = [line for line in out.file.getvalue().splitlines() if "started" not in line and "goes on" not in line]
    assert ["new best" in line for line in lines] == [False, True, False, True]


def test_where_nothing_is_left_no_worker_is_said_to_start(progress):
    out = console()
    ProgressView(progress, out).open()
    assert out.file.getvalue().startswith("starting | 1/4 trials")
    progress.budget = 1
    ProgressView(progress, done := console()).open()
    assert done.file.getvalue() == ""


def test_a_paused_trial_that_goes_on_counts_once(progress):
    view = ProgressView(progress, out := console())
    for state in ("paused", "complete"):
        view.trial_started(0, 2, {})
        view.trial_finished(0, 2, Verdict(2, state, (5.0,)), 1.0)
        assert progress.finished == 2
    assert "trial 2 goes on" in out.file.getvalue()
    assert progress.paused == set()


def test_what_other_drivers_have_ended_shortens_the_time_that_is_left(progress):
    view = QuietView(progress, console())
    view.ended_elsewhere([optuna.trial.create_trial(value=2.0), optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)])
    assert (progress.finished, progress.failed, progress.finished_before) == (2, 2, 1)
    assert progress.seconds_left() is not None


def test_a_log_says_what_takes_minutes_and_nothing_shorter(progress, monkeypatch):
    hands = Clock(monkeypatch)
    out = console()
    view = ProgressView(progress, out)
    view.workers_started([0])
    for second in range(100):
        view.activity(0, f"reading images: {second}%")
        hands.pass_(1)
    view.worker_ready(0)
    view.trial_started(0, 2, {})
    view.activity(0, "compiling")
    view.activity(0, "")
    lines = [line for line in out.file.getvalue().splitlines() if "started" not in line]
    assert lines == [f"worker 0 starts: reading images: {second}%" for second in (30, 60, 90)]


def test_a_notebook_has_one_output_that_changes(progress, monkeypatch):
    shown = []
    handle = types.SimpleNamespace(update=lambda bundle, raw: shown.append(bundle["text/plain"]))
    fake = types.SimpleNamespace(display=lambda bundle, raw, display_id: handle)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=fake))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    view = make_view(progress, Console(force_jupyter=True), quiet=False)
    view.open()
    view.trial_started(0, 2, {"x": 1}, steps=3)
    view.activity(0, "compiling")
    view.tick()
    view.trial_finished(0, 2, Verdict(2, "complete", (1.0,)), 61.0)
    view.close()
    assert [line.split() for line in shown[0].splitlines()[:2]] == [
        ["trial", "step", "value", "time", "parameters"],
        ["2", "0/3", "-", "00:00", "compiling", "x=1"],
    ]
    assert shown[-1].startswith("trial 2 complete, value 1 in 01:01, new best\n2/4 trials · best value 1 (trial 2)")


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (61.4, "01:01"), (3599.6, "1:00:00"), (36000, "10:00:00")])
def test_seconds_as_a_clock(seconds, text):
    assert clock(seconds) == text


def test_a_live_view_that_the_system_has_no_thread_for_is_drawn_with_each_line(progress, monkeypatch):
    def no_room(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_room)
    drawn = io.StringIO()
    view = LiveView(progress, Console(file=drawn, width=140, force_terminal=True))
    view.open()
    view.trial_started(0, 2, {"x": 1.0})
    view.trial_finished(0, 2, Verdict(2, "complete", (1.0,)), 3.0)
    view.close()
    out = drawn.getvalue()
    assert "trial 2 complete, value 1 in 00:03" in out
    assert "2/4 trials" in out
    assert out.rindex("\x1b[?25h") > out.rindex("\x1b[?25l"), "the cursor is shown again"
