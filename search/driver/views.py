"""What a person sees while a study runs: a live table in a terminal, plain lines elsewhere, nothing when asked for quiet."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.driver.budget import FINISHED
from search.driver.progress import Progress, Running
from search.driver.tell import Verdict
from search.text import clock, format_params, plain, print_line

_LONGEST_WARNING = 1000  # characters


class ProgressView:
    """Is told what happens in a launch; this one shows nothing, which is what ``--quiet`` asks for."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress = progress
        self.console = console
        self._warned: set[str] = set()

    def open(self) -> None:
        """The launch begins."""

    def close(self) -> None:
        """The launch is over."""

    def tick(self) -> None:
        """A moment has passed."""

    def warn(self, line: str) -> None:
        """Something cannot be had, and the launch goes on without: said once, on stderr, even where nothing else is shown."""
        if line not in self._warned:
            self._warned.add(line)
            print(f"warning: {plain(line, _LONGEST_WARNING)}", file=sys.stderr, flush=True)

    def trial_started(self, worker: int, number: int, params: Mapping[str, Any]) -> None:
        """A worker was given a trial."""
        self.progress.running[worker] = Running(number, dict(params), time.monotonic())
        self.progress.paused.discard(number)

    def reported(self, worker: int, step: int, value: float) -> None:
        """A worker reported an intermediate value."""
        self.progress.running[worker].step, self.progress.running[worker].value = step, value

    def trial_finished(self, worker: int, number: int, verdict: Verdict) -> None:
        """A trial ended."""
        self.progress.running.pop(worker, None)
        self.progress.add(verdict)

    def ended_elsewhere(self, trials: Sequence[FrozenTrial]) -> None:
        """Other drivers of the study have ended trials."""
        self.progress.update(trials)
        self.progress.finished_here += sum(trial.state in FINISHED for trial in trials)

    def requeued(self, numbers: Sequence[int]) -> None:
        """Another driver is gone, and what it ran will be tried again."""

    def noted(self, notes: Sequence[str]) -> None:
        """A worker's objective says something of what it found, not said before."""

    def worker_replaced(self, worker: int, why: str) -> None:
        """A worker leaves between two trials, and a fresh one takes its place."""

    def interrupted(self, times: int, running: int) -> None:
        """The user pressed ^C for the first or a later time. Runs inside a signal handler: no I/O."""


class LineView(ProgressView):
    """One line for each trial that starts or ends: for logs and pipes."""

    _notice = ""

    def open(self) -> None:
        """Says that the workers, which take a while to build their objective, are being started."""
        if self.progress.finished < self.progress.budget:
            self._print(f"starting | {self.progress.summary()}")

    def trial_started(self, worker: int, number: int, params: Mapping[str, Any]) -> None:
        """Prints the trial's parameters."""
        begins = "goes on" if number in self.progress.paused else "started"
        super().trial_started(worker, number, params)
        self._print(f"trial {number} {begins}: {format_params(params)}")

    def trial_finished(self, worker: int, number: int, verdict: Verdict) -> None:
        """Prints how the trial ended."""
        running = self.progress.running.get(worker)
        took = f" in {clock(time.monotonic() - running.started)}" if running else ""
        super().trial_finished(worker, number, verdict)
        self._print(f"trial {number} {_ending(verdict, self.progress)}{took}{self._context()}")

    def requeued(self, numbers: Sequence[int]) -> None:
        """Prints which."""
        self._print(f"lost by a driver that died, and taken up again: trials {', '.join(map(str, numbers))}")

    def noted(self, notes: Sequence[str]) -> None:
        """Prints each."""
        for note in notes:
            self._print(f"note: {note}")

    def worker_replaced(self, worker: int, why: str) -> None:
        """Prints why."""
        self._print(f"worker {worker} is replaced: {plain(why)}")

    def interrupted(self, times: int, running: int) -> None:
        """Keeps the notice for the next tick."""
        self._notice = _stopping(times, running)

    def tick(self) -> None:
        """Prints a notice that came in a signal handler."""
        if self._notice:
            self._print(self._notice)
            self._notice = ""

    def _context(self) -> str:
        return f" | {self.progress.summary()}"

    def _print(self, line: str) -> None:
        print_line(self.console, line)


class LiveView(LineView):
    """A table that is drawn anew in place, with the finished trials scrolling by above it."""

    def open(self) -> None:
        """Takes over the lower part of the terminal."""
        self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
        self._live.start()

    def close(self) -> None:
        """Gives the terminal back."""
        self._live.stop()

    def trial_started(self, worker: int, number: int, params: Mapping[str, Any]) -> None:
        """Leaves the line out: the table has a row for every running trial."""
        ProgressView.trial_started(self, worker, number, params)

    def _context(self) -> str:
        return ""  # the summary is right below

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("worker", "trial", "step", self.progress.metric, "time", "parameters"):
            table.add_column(Text(column), overflow="ellipsis", no_wrap=True)
        # A copy: this runs in rich's thread while the driver's adds and removes trials.
        for worker, running in sorted(self.progress.running.copy().items()):
            table.add_row(
                str(worker),
                str(running.number),
                "-" if running.step is None else str(running.step),
                "-" if running.value is None else f"{running.value:.6g}",
                clock(time.monotonic() - running.started),
                Text(format_params(running.params)),
            )
        return Group(table, Text(self.progress.summary(), style="bold"))


def make_view(progress: Progress, console: Console, *, quiet: bool) -> ProgressView:
    """Returns the view that fits the console."""
    if quiet:
        return ProgressView(progress, console)
    return LiveView(progress, console) if console.is_terminal else LineView(progress, console)


def _ending(verdict: Verdict, progress: Progress) -> str:
    if verdict.state == "complete":
        names = " ".join(f"{value:.6g}" for value in verdict.values)
        return f"complete, {progress.metric} {names}" if len(verdict.values) == 1 else f"complete, values {names}"
    ended = {"failed": "failed", "retry": "failed, and is tried again", "infeasible": "infeasible", "lost": "is lost"}.get(
        verdict.state
    )
    if verdict.state == "paused":
        return f"paused, {progress.metric} {verdict.values[0]:.6g}"
    return f"{ended}: {plain(verdict.reason)}" if ended else verdict.state


def _stopping(times: int, running: int) -> str:
    if times == 1 and running:
        return (
            "stopping: each running trial ends at its next report, and is taken up again at the next launch (^C again: at once)"
        )
    return "stopping at once"
