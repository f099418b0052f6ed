"""Runs a command of ours in the process of the tests: it starts at once, and shares what that has imported and compiled."""

import contextlib
import io
import subprocess
import sys

import pytest


@contextlib.contextmanager
def sharing(programs):
    """Has every trainer that is made in the block, even inside a command, use these programs."""
    cache = type(programs)
    get = cache.get
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "get", lambda _, config: get(programs, config))
        yield


def run_in_process(main, *words, **environment):
    """Runs a command to its end, and returns what it left.

    Args:
        main: Of the program.
        words: What a person would type, the program's name first.
        environment: Variables for this run.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", list(words))
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            main()
    printed = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(words, end.value.code or 0, *printed)
