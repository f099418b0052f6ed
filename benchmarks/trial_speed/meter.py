"""Runs a contender in a process of its own and samples the memory of it and its children."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.trial_speed.records import Sample

_INTERVAL_S = 0.2


class ContenderError(Exception):
    """A contender ended with an error; the message ends with what it printed last."""


def run_measured(command: Sequence[str], environ: Mapping[str, str], log: Path) -> list[Sample]:
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        environ: Variables besides this process's own.
        log: Takes what it prints.

    Returns:
        Its memory, a sample each fifth of a second.

    Raises:
        ContenderError: It failed.
    """
    samples = []
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                samples.append(Sample(time.time(), _tree_mib(process.pid)))
                time.sleep(_INTERVAL_S)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise ContenderError(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-2000:]}")
    return samples


def _tree_mib(pid: int) -> float:
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        pass
    return total / 2**20
