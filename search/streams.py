"""Standard output and error that end no command: what they could not take is told at its end. In a log, lines have a time."""

import contextlib
import errno
import io
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO


class Forgiving(io.FileIO):
    """Writes to a descriptor; keeps the first failure to do so, lets go of what cannot be written, and waits where it must.

    Attributes:
        failure: What was wrong.
    """

    failure: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Returns how much was taken, which is all of it where nothing can be written."""
        try:
            while (written := super().write(data)) is None:  # a pipe that is full, and was set not to wait
                select.select([], [self.fileno()], [])
        except OSError as error:
            self.failure = self.failure or error
            return len(data)
        return written


def forgive_output() -> None:
    """Makes stdout and stderr forgiving, and able to write every name there is; closed ones lead nowhere."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Or the next file that is opened would take its number, and what is printed; what is started has it too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    stdout, stderr = sys.__stdout__, sys.__stderr__
    if stdout is not None and sys.stdout is stdout:  # else somebody else has taken it, as a test does
        sys.stdout = _forgiving(stdout, lines=stdout.isatty())
    if stderr is not None and sys.stderr is stderr:
        sys.stderr = _forgiving(stderr, lines=True)


class _Clocked:
    """Writes to a stream, and begins each line with the local time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._begins = stream, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        for line in io.StringIO(text):
            self._stream.write(time.strftime("%F %T ") * self._begins + line)
            self._begins = line.endswith("\n")
        return len(text)


@contextlib.contextmanager
def clocked() -> Iterator[None]:
    """Has each line of stdout and stderr in the block begin with the time, where they are no terminal."""
    with contextlib.ExitStack() as stack:
        for redirect, stream in ((contextlib.redirect_stdout, sys.stdout), (contextlib.redirect_stderr, sys.stderr)):
            if stream is not None and not stream.isatty():
                stack.enter_context(redirect(_Clocked(stream)))
        yield


def unwritten_output() -> str:
    """Returns in one line why not all of stdout could be written; empty where it was, or its reader wanted no more."""
    if sys.stdout is None:
        return ""
    sys.stdout.flush()
    failure = failure_of(sys.stdout)
    if failure is None or failure.errno == errno.EPIPE:
        return ""
    return f"standard output: must be writable; got {failure.strerror or failure}. What was printed is cut."


def failure_of(stream: object) -> OSError | None:
    """Returns why not all could be written to a stream that was made forgiving; None where it could."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, Forgiving) else None


def _forgiving(stream: TextIO, *, lines: bool) -> TextIO:
    stream.flush()
    buffer = io.BufferedWriter(Forgiving(stream.fileno(), "w", closefd=False))  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=lines)
