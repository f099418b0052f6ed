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
from search.driver.progress import Board, Running
from search.text import clock, format_params, plain, print_line
from search.workers.protocol import Outcome

_LONGEST_WARNING = 1000  # characters


class View:
    """Is told what happens in a launch; this one shows nothing, which is what ``--quiet`` asks for."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board = board
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
        self.board.running[worker] = Running(number, dict(params), time.monotonic())

    def reported(self, worker: int, step: int, value: float) -> None:
        """A worker reported an intermediate value."""
        self.board.running[worker].step, self.board.running[worker].value = step, value

    def trial_finished(self, worker: int, number: int, outcome: Outcome) -> None:
        """A trial ended."""
        self.board.running.pop(worker, None)
        self.board.add(outcome)

    def ended_elsewhere(self, trials: Sequence[FrozenTrial]) -> None:
        """Other drivers of the study have ended trials."""
        self.board.take_in(trials)
        self.board.finished_here += sum(trial.state in FINISHED for trial in trials)

    def given_back(self, numbers: Sequence[int]) -> None:
        """Another driver is gone, and what it ran will be tried again."""

    def noted(self, notes: Sequence[str]) -> None:
        """A worker's objective says something of what it found, not said before."""

    def worker_replaced(self, worker: int, why: str) -> None:
        """A worker leaves between two trials, and a fresh one takes its place."""

    def interrupted(self, times: int, running: int) -> None:
        """The user pressed ^C for the first or a later time. Runs inside a signal handler: no I/O."""


class LineView(View):
    """One line for each trial that starts or ends: for logs and pipes."""

    _notice = ""

    def open(self) -> None:
        """Says that the workers, which take a while to build their objective, are being started."""
        if self.board.finished < self.board.budget:
            self._print(f"starting | {self.board.summary()}")

    def trial_started(self, worker: int, number: int, params: Mapping[str, Any]) -> None:
        """Prints the trial's parameters."""
        super().trial_started(worker, number, params)
        self._print(f"trial {number} started: {format_params(params)}")

    def trial_finished(self, worker: int, number: int, outcome: Outcome) -> None:
        """Prints how the trial ended."""
        running = self.board.running.get(worker)
        took = f" in {clock(time.monotonic() - running.started)}" if running else ""
        super().trial_finished(worker, number, outcome)
        self._print(f"trial {number} {_ending(outcome, self.board)}{took}{self._context()}")

    def given_back(self, numbers: Sequence[int]) -> None:
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
        return f" | {self.board.summary()}"

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
        View.trial_started(self, worker, number, params)

    def _context(self) -> str:
        return ""  # the summary is right below

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("worker", "trial", "step", self.board.metric, "time", "parameters"):
            table.add_column(Text(column), overflow="ellipsis", no_wrap=True)
        # A copy: this runs in rich's thread while the driver's adds and removes trials.
        for worker, running in sorted(self.board.running.copy().items()):
            table.add_row(
                str(worker),
                str(running.number),
                "-" if running.step is None else str(running.step),
                "-" if running.value is None else f"{running.value:.6g}",
                clock(time.monotonic() - running.started),
                Text(format_params(running.params)),
            )
        return Group(table, Text(self.board.summary(), style="bold"))


def make_view(board: Board, console: Console, *, quiet: bool) -> View:
    """Returns the view that fits the console."""
    if quiet:
        return View(board, console)
    return LiveView(board, console) if console.is_terminal else LineView(board, console)


def _ending(outcome: Outcome, board: Board) -> str:
    if outcome.state == "complete":
        names = " ".join(f"{value:.6g}" for value in outcome.values)
        return f"complete, {board.metric} {names}" if len(outcome.values) == 1 else f"complete, values {names}"
    ended = {"failed": "failed", "retry": "failed, and is tried again", "infeasible": "infeasible", "lost": "is lost"}.get(
        outcome.state
    )
    return f"{ended}: {plain(outcome.reason)}" if ended else outcome.state


def _stopping(times: int, running: int) -> str:
    if times == 1 and running:
        return (
            "stopping: each running trial ends at its next report, and is taken up again at the next launch (^C again: at once)"
        )
    return "stopping at once"
