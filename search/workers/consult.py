"""Asks an objective about a study file before there is a worker, in a process of its own: its module may import anything."""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from search.study_file.targets import import_object
from search.workers.hooks import take_misfits

_SECONDS = 20.0  # to import it; one that imports a backend may take longer, and is asked later by its worker


def ask_misfits(target: str, space: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns a line for each parameter and setting that an objective cannot run; none where it does not say so in time.

    The objective is ``module:attribute``, and the variables of its settings are expanded.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, target, space, settings), daemon=True)
    try:
        process.start()
    except OSError:  # the system has no room for it; its worker is asked later
        return ()
    theirs.close()  # so that the pipe ends when the process does
    lines: tuple[str, ...] = ()
    with ours, contextlib.suppress(EOFError):
        if ours.poll(_SECONDS):
            lines = ours.recv()
    process.kill()
    process.join()
    return lines


def _answer(connection: Connection, target: str, space: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(silence, stream.fileno())
    connection.send(take_misfits(import_object(target, "study.objective"), space, (), settings))
