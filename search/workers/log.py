"""The file that takes what a worker prints."""

import os
import sys
import time
from multiprocessing import current_process
from pathlib import Path

from search.streams import failure_of, forgive_output


def print_to(log: Path) -> str:
    """Sends all output to `log`, that of C libraries too; it is appended, so that a resumed study keeps its history.

    Its first line there says which process this is, which a debugger or a profiler wants to know.

    Returns:
        In one line why that cannot be, where it cannot: what is printed is let go of then. Empty otherwise.
    """
    notice = ""
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        notice = _no_log(log, error)
        target = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    forgive_output()  # a full disk must not end a trial that prints
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(line_buffering=True)
    print(f"{current_process().name}: process {os.getpid()}, begun {time.strftime('%Y-%m-%d %H:%M:%S')}")
    return notice


def cut_log(log: Path | None) -> str:
    """Returns in one line why not all that was printed is in the log; empty where it is."""
    failure = failure_of(sys.stdout) or failure_of(sys.stderr)
    return _no_log(log, failure) if log is not None and failure is not None else ""


def _no_log(log: Path, error: OSError) -> str:
    return f"{log}: what workers print cannot be kept; got {error.strerror or error}. Going on without."
