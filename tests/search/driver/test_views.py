import io

import optuna
import pytest
from rich.console import Console

from search.driver.progress import Progress
from search.driver.tell import Verdict
from search.driver.views import LineView, LiveView, ProgressView, make_view
from search.text import clock


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
        "4/4 trials · 1 pruned · 1 failed · best value 1 (trial 2) · 00:00 elapsed · 00:00 left"
    )


def test_the_view_fits_the_console(progress):
    assert type(make_view(progress, console(), quiet=True)) is ProgressView
    assert type(make_view(progress, console(), quiet=False)) is LineView
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
    view.trial_finished(0, 2, Verdict(2, "failed", reason="KeyError: [x]"))
    view.interrupted(1, 1)
    view.tick()
    view.close()
    text = out.file.getvalue()
    assert "trial 2 failed: KeyError: [x] in 00:00" in text
    assert "1/4 trials · 0 pruned · 2 failed" in text
    assert "stopping: each running trial ends at its next report" in text
    if terminal:
        assert "x=0.1235" in text


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (61.4, "01:01"), (3599.6, "1:00:00"), (36000, "10:00:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text
