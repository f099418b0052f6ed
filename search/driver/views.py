"""What a person sees while a study runs: a live table in a terminal, plain lines elsewhere, nothing when asked for quiet."""

import importlib
import io
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from search.driver.live_table import running_table
from search.driver.progress import AtWork, Progress
from search.driver.tell import Verdict
from search.text import clock, format_params, plain, print_line

_LONGEST_WARNING = 1000  # characters
_SECONDS_BETWEEN_LINES = 30.0  # of what one worker is at, in a log

_SECONDS_BETWEEN_DRAWINGS = 0.5  # in a notebook
_NOTEBOOK_WIDTH = 110  # characters
_NOTEBOOK_LINES = 12  # of trials that have ended


class ProgressView:
    """Is told what happens in a launch, and prints a line for each trial that starts or ends: for logs and pipes.

    What takes minutes it says now and then.
    """

    _has_table = False  # which says what each worker is at, and the counts

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress = progress
        self.console = console
        self._warned: set[str] = set()
        self._noted: set[str] = set()
        self._knows_asked = False
        self._said_at: dict[int, float] = {}  # by worker
        self._notice = ""

    def open(self) -> None:
        """The launch begins: the workers, which take a while to build their objective, are being started."""
        if self.progress.finished < self.progress.budget:
            self._print(f"starting | {self.progress.summary()}")

    def close(self) -> None:
        """The launch is over."""

    def tick(self) -> None:
        """A moment has passed."""
        if self._notice:
            self._print(self._notice)
            self._notice = ""

    def warn(self, line: str) -> None:
        """Something cannot be had, and the launch goes on without: said once, on stderr, even where nothing else is shown."""
        if line not in self._warned:
            self._warned.add(line)
            print_warning(line)

    def workers_started(self, workers: Sequence[int]) -> None:
        """Workers begin to build their objectives."""
        self.progress.at_work.update({worker: AtWork(time.monotonic()) for worker in workers})

    def worker_ready(self, worker: int) -> None:
        """A worker has built its objective, or is gone."""
        self.progress.at_work.pop(worker, None)

    def activity(self, worker: int, text: str) -> None:
        """A worker says what it is at, which is printed twice a minute at most; an empty text says that it is over."""
        at_work = self.progress.at_work.get(worker)
        if at_work is None:
            return
        at_work.activity, now = text, time.monotonic()
        last = max(at_work.started, self._said_at.get(worker, 0.0))
        if text and not self._has_table and now - last >= _SECONDS_BETWEEN_LINES:
            self._said_at[worker] = now
            self._print(f"{f'worker {worker} starts' if at_work.number is None else f'trial {at_work.number}'}: {text}")

    def trial_started(self, worker: int, number: int, params: Mapping[str, Any], steps: int | None = None) -> None:
        """A worker was given a trial, which will report so many steps."""
        begins = "goes on" if number in self.progress.paused else "started"
        self.progress.at_work[worker] = AtWork(time.monotonic(), number=number, params=dict(params), steps=steps)
        self.progress.paused.discard(number)
        if not self._has_table:
            self._print(f"trial {number} {begins}: {format_params(params)}")

    def reported(self, worker: int, step: int, value: float) -> None:
        """A worker reported an intermediate value."""
        self.progress.at_work[worker].step, self.progress.at_work[worker].value = step, value

    def trial_finished(self, worker: int, number: int, verdict: Verdict, seconds: float) -> None:
        """A trial ended that ran for so long."""
        self.progress.at_work.pop(worker, None)
        best = ", new best" if self.progress.add(verdict) else ""
        self._print(f"trial {number} {_ending(verdict, self.progress)} in {clock(seconds)}{best}{self._context()}")

    def refused(self, number: int, why: str) -> None:
        """A trial fails before it begins: what somebody has enqueued is not in the space."""
        self.progress.add(Verdict(number, "failed", reason=why))
        self._print(f"trial {number} failed: {plain(why)}{self._context()}")

    def ended_elsewhere(self, trials: Sequence[FrozenTrial]) -> None:
        """Other drivers of the study have ended trials."""
        self.progress.update(trials)

    def requeued(self, numbers: Sequence[int]) -> None:
        """Another driver is gone, and what it ran will be tried again."""
        self._print(f"lost by a driver that died, and taken up again: trials {', '.join(map(str, numbers))}")

    def noted(self, notes: Sequence[str]) -> None:
        """A worker's objective says something of what it found, and each worker's the same."""
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                self._print(f"note: {note}")

    def never_asked(self, number: int, names: Sequence[str] | None) -> None:
        """A trial has ended whose objective never asked for these parameters of it: told of the first that knows."""
        if names and not self._knows_asked:
            it, used = ("it", "Is it used?") if len(names) == 1 else ("them", "Are they used?")
            remedy = f"{used} If only beside some values of another parameter, say so with `when`."
            self.warn(
                f"space.{', space.'.join(names)}: trial {number} has {it} and its objective never asked for {it}. {remedy}"
            )
        self._knows_asked = self._knows_asked or names is not None

    def worker_replaced(self, worker: int, why: str, *, for_good: bool = False) -> None:
        """A worker leaves between two trials, and a fresh one takes its place, or none any more."""
        if for_good:
            self.warn(f"worker {worker}: {why}, as it did before; none takes its place. Is the GPU lost? See nvidia-smi")
        else:
            self._print(f"worker {worker} is replaced: {plain(why)}")

    def interrupted(self, times: int, running: int) -> None:
        """The user pressed ^C for the first or a later time. Runs inside a signal handler: the next tick prints it."""
        self._notice = (
            "stopping: each running trial ends at its next report, and is taken up again at the next launch (^C again: at once)"
            if times == 1 and running
            else "stopping at once"
        )

    def _context(self) -> str:
        return "" if self._has_table else f" | {self.progress.summary()}"

    def _print(self, line: str) -> None:
        print_line(self.console, line)


class QuietView(ProgressView):
    """Prints nothing but warnings, which is what ``--quiet`` asks for."""

    def _print(self, line: str) -> None:
        pass


class LiveView(ProgressView):
    """A table that is drawn anew in place, with the finished trials scrolling by above it."""

    _has_table = True

    def open(self) -> None:
        """Takes over the lower part of the terminal."""
        self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
        try:
            self._live.start()
        except RuntimeError:  # the system has no room for its thread: it is drawn anew with each line
            self._live.auto_refresh = False

    def close(self) -> None:
        """Gives the terminal back."""
        self._live.stop()

    def _render(self) -> RenderableType:
        return Group(running_table(self.progress), Text(self.progress.summary(), style="bold"))


class NotebookView(LiveView):
    """What `LiveView` shows, as the text of one output of a cell."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress, console)
        self._lines: list[str] = []
        self._shown_at = 0.0

    def open(self) -> None:
        """Makes the output."""
        display = importlib.import_module("IPython.display").display  # there, as this is a notebook
        self._handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def close(self) -> None:
        """Leaves the last lines and the counts."""
        self._show([*self._lines, self.progress.summary()])

    def tick(self) -> None:
        """Draws anew, twice a second at most."""
        super().tick()
        if time.monotonic() - self._shown_at >= _SECONDS_BETWEEN_DRAWINGS:
            self._shown_at = time.monotonic()
            drawn = io.StringIO()
            Console(file=drawn, width=_NOTEBOOK_WIDTH, force_jupyter=False).print(self._render())
            self._show([*self._lines, *drawn.getvalue().splitlines()])

    def _print(self, line: str) -> None:
        out = io.StringIO()
        print_line(Console(file=out, width=_NOTEBOOK_WIDTH, force_jupyter=False), line)
        self._lines = [*self._lines[1 - _NOTEBOOK_LINES :], out.getvalue().rstrip("\n")]

    def _show(self, lines: list[str]) -> None:
        self._handle.update({"text/plain": "\n".join(lines)}, raw=True)


def print_warning(line: str) -> None:
    """Prints on stderr that something cannot be had."""
    print(f"warning: {plain(line, _LONGEST_WARNING)}", file=sys.stderr, flush=True)


def make_view(progress: Progress, console: Console, *, quiet: bool) -> ProgressView:
    """Returns the view that fits the console."""
    if quiet:
        return QuietView(progress, console)
    if console.is_jupyter:
        return NotebookView(progress, console)
    return LiveView(progress, console) if console.is_terminal else ProgressView(progress, console)


def _ending(verdict: Verdict, progress: Progress) -> str:
    if verdict.state in ("complete", "paused"):
        values = " ".join(f"{value:.6g}" for value in verdict.values)
        valued = f"{verdict.state}, {progress.metric if len(verdict.values) == 1 else 'values'} {values}"
        return f"{valued}, {verdict.reason}" if verdict.breaks else valued
    if verdict.breaks:
        return f"{verdict.state}, {verdict.reason}"
    words = {"failed": "failed", "retry": "failed, and is tried again", "infeasible": "infeasible", "lost": "is lost"}
    ended = words.get(verdict.state, verdict.state)
    return f"{ended}: {plain(verdict.reason)}" if verdict.reason else ended
