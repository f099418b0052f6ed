"""What takes a while, said as it goes on: reading images, filling the cache, compiling, measuring.

Whoever runs the code may listen, as `search` does for its live view. Where nobody does, one line that changes in place says it
in a terminal or a notebook, and nothing elsewhere.
"""

import contextlib
import importlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")

Listener = Callable[[str], None]
"""Is told in a few words what goes on, an empty text at its end. What it raises ends what goes on."""

_SECONDS_BETWEEN = 0.25


@dataclass
class _Count:
    """Something of which so much is done."""

    what: str
    total: int
    unit: str
    began: float
    done: int = 0

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        text = f"{self.what}: {self.done / max(self.total, 1):.0%}"
        if seconds < 1 or not self.done:
            return text
        rate = self.done / seconds
        return f"{text}, {rate:,.0f} {self.unit}/s, {_clock((self.total - self.done) / rate)} left"


class Line:
    """One line that changes in place: in a terminal on stderr, or as the output of a notebook's cell."""

    def __init__(self) -> None:
        self._shown_at = 0.0
        self._handle: Any = None
        self._cell: object = None

    def __call__(self, text: str) -> None:
        """Shows a text, four a second at most; an empty one takes the line away."""
        now = time.monotonic()
        if text and now - self._shown_at < _SECONDS_BETWEEN:
            return
        shell = _notebook()
        if shell is not None:
            self._show_in(shell, text)
        elif sys.stderr is not None and sys.stderr.isatty() and (text or self._shown_at):
            print(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)
        self._shown_at = now if text else 0.0

    def _show_in(self, shell: Any, text: str) -> None:
        bundle = {"text/plain": text}
        if self._handle is None or self._cell != shell.execution_count:  # each run of a cell has an output of its own
            if not text:
                return
            display = importlib.import_module("IPython.display").display
            self._handle, self._cell = display(bundle, raw=True, display_id=True), shell.execution_count
        else:
            self._handle.update(bundle, raw=True)


class _Awaited(threading.local):
    """What `await_call` runs for a thread."""

    future: Future[Any] | None = None


_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)
_title: ContextVar[str] = ContextVar("_title", default="")
_counts: ContextVar[tuple[_Count, ...]] = ContextVar("_counts", default=())
_line = Line()
_awaited = _Awaited()


def listen(listener: Listener) -> None:
    """Has a listener told, in this thread, instead of a line being shown."""
    _listener.set(listener)


def tell(text: str) -> None:
    """Says what goes on; call it as often as you like."""
    listener = _listener.get()
    if listener is not None:
        listener(text)
    else:
        _line(f"{_title.get()}{': ' * bool(_title.get())}{text}" if text else "")


def make_way() -> None:
    """Takes the line away where there is one: something else is printed now."""
    if _listener.get() is None:
        _line("")


def retitle(title: str) -> None:
    """Changes the name that `titled` gave."""
    _title.set(title)


@contextlib.contextmanager
def titled(title: str) -> Iterator[None]:
    """Names what the lines of the block below belong to, where nobody listens who knows; at its end the line is taken away."""
    token = _title.set(title)
    try:
        yield
    finally:
        _title.reset(token)
        make_way()


@contextlib.contextmanager
def counting(what: str, total: int, unit: str = "images") -> Iterator[None]:
    """Says how far something is that the block below does, which calls `advance`."""
    count = _Count(what, total, unit, time.monotonic())
    token = _counts.set((*_counts.get(), count))
    tell(str(count))
    try:
        yield
        tell("")
    finally:
        _counts.reset(token)
        make_way()


def advance(count: int = 1) -> None:
    """Says that so many more are done, of what `counting` counts here; nothing where it counts nothing."""
    if counts := _counts.get():
        counts[-1].done += count
        tell(str(counts[-1]))


def await_call(call: Callable[[], Result]) -> Result:
    """Returns what a call returns that may take seconds in compiled code, where Python looks at nothing.

    It runs in a thread of its own, so that whoever listens, or a ^C, ends the wait at once. The call itself then goes on to its
    end, and nobody takes what it returns; see `finish_call`.
    """
    finish_call()
    _awaited.future = future = Future[Result]()
    threading.Thread(target=_run, args=(call, future), daemon=True).start()
    while not wait([future], _SECONDS_BETWEEN).done:
        if counts := _counts.get():
            tell(str(counts[-1]))
    _awaited.future = None
    return future.result()


def finish_call() -> None:
    """Waits for a call of this thread that was not awaited to its end: it may still use what is to be changed now."""
    if _awaited.future is not None:
        wait([_awaited.future])
        _awaited.future = None


def _run(call: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def _notebook() -> Any:
    """Returns the shell of the notebook that this runs in, or None."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if type(shell).__name__ == "ZMQInteractiveShell" else None
