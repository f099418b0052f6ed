"""Standard output and error that end no command: what they could not take is told at its end."""

import contextlib
import errno
import io
import os
import select
import sys
from pathlib import Path
from typing import TextIO

import click

from tumorcls.errors import shown
from tumorcls.files import check_writable, open_file_of


class Forgiving(io.FileIO):
    """Writes to a descriptor; keeps the first failure to do so, lets go of what cannot be written, and waits where it must."""

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


def unwritten_output() -> str:
    """Returns in one line why not all of stdout could be written; empty where it was, or its reader wanted no more."""
    if sys.stdout is None:
        return ""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, Forgiving) else None
    if failure is None or failure.errno == errno.EPIPE:
        return ""
    return f"standard output: must be writable; got {failure.strerror or failure}. What was printed is cut."


def prepare_outputs(*outputs: Path | None) -> None:
    """Refuses files that could not be written after all the work is done: see `check_writable`.

    Where one of them is stdout, all that the command prints from here on goes to stderr.
    """
    paths = [path for path in outputs if path is not None]
    for path in paths:
        check_writable(path)
    if any(open_file_of(path) == 1 for path in paths):
        click.get_current_context().with_resource(contextlib.redirect_stdout(sys.stderr))


def tell(line: str) -> None:
    """Prints a line that may have a path in it."""
    click.echo(shown(line))


def tell_notes(*notes: str) -> None:
    """Prints what a person should know beside the result, a line each, to stderr."""
    for note in notes:
        click.echo(f"note: {shown(note)}", err=True)


def _forgiving(stream: TextIO, *, lines: bool) -> TextIO:
    stream.flush()
    buffer = io.BufferedWriter(Forgiving(stream.fileno(), "w", closefd=False))  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=lines)
