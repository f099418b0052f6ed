"""`search submit`: sends tasks of `search worker` to Slurm as a job array, through submitit."""

import os
import runpy
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from search.driver.launch import check_shareable
from search.errors import SubmissionError
from search.storage.place import url_of
from search.storage.url import hide_password, holds_secret
from search.study_file.load import StudySpec
from search.text import one_line

Cluster = Literal["slurm", "local"]

# As in the script of docs/cluster.md. TERM instead of submitit's USR2: Slurm signals every process of a task, and those that
# run trials would die of USR2. The batch file puts a task that was told to end back into the queue; submitit's own way, which
# does so from within the signal's handler, would leave trials behind.
_OURS: Mapping[str, str | bool] = {"signal": "TERM@120", "requeue": True}
_ID = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"  # the array's alone means all of it
_BACK = f"trap '[ $? -eq 130 ] && scontrol requeue \"{_ID}\"' EXIT"  # what `search worker` ends with when it was told to
_TAKEN = {"array": "--jobs", "signal": "TERM@120", "job-name": "the study's name", "output": "--logs", "error": "--logs"}


@dataclass(frozen=True)
class Resources:
    """What each task asks for; None leaves it to the cluster.

    Attributes:
        seconds: Wall time.
        gpus: GPUs.
        cpus: CPUs.
        memory: Memory, as Slurm writes it: ``16G``.
        partition: The partition of the cluster.
        more: Other options of sbatch, without their dashes; True for one that takes no value.
    """

    seconds: float
    gpus: int | None = None
    cpus: int | None = None
    memory: str | None = None
    partition: str | None = None
    more: Mapping[str, str | bool] = field(default_factory=dict)


def _run_task(arguments: Sequence[str]) -> None:
    """Runs the command ``search`` in a task, and ends the process with its exit code, as the shell's script would."""
    # submitit would let SIGTERM pass until the worker heeds it, and requeue at USR2, which its local executor sends.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))
    sys.argv = ["search", *arguments]
    runpy.run_module("search", run_name="__main__")


def submit(
    spec: StudySpec,
    resources: Resources,
    *,
    jobs: int,
    logs: Path,
    workers: int = 1,
    name: str | None = None,
    url: str | None = None,
    cluster: Cluster = "slurm",
) -> list[str]:
    """Sends the tasks, and returns their ids.

    Args:
        spec: The study file.
        resources: What each task asks for.
        jobs: How many tasks.
        logs: The folder of their logs, which every machine must see.
        workers: How many trials run in each task at a time.
        name: The study's name, where it is not the file's.
        url: The storage instead of the file's.
        cluster: Where they run: Slurm, or processes of this machine.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    check_shareable(url_of(spec, url))
    if url is not None and holds_secret(url):
        raise SubmissionError(
            f"--storage: a password must not be written to {logs}, where the tasks read their command; got "
            f"{hide_password(url)}. Leave it to ~/.pgpass or my.cnf: see docs/storages.md."
        )
    _check_here(cluster)
    import submitit

    arguments = ["worker", str(spec.whole_path.resolve()), "--workers", str(workers)]
    arguments += ["--as", name] if name is not None else []
    arguments += ["--storage", url] if url is not None else []
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
        executor.update_parameters(**_parameters(spec.name, resources, jobs))
        with executor.batch():
            sent = [executor.submit(_run_task, arguments) for _ in range(jobs)]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        reason = one_line(error).rstrip(".")
        raise SubmissionError(f"sbatch: must take the tasks; got: {reason}. Correct the options; see also {logs}.") from None
    except OSError as error:
        raise SubmissionError(f"{logs}: must be a folder to write to; got: {one_line(error)}. Change --logs.") from None
    return [job.job_id for job in sent]


def _check_here(cluster: Cluster) -> None:
    try:
        import submitit  # noqa: F401
    except ImportError:
        message = "search submit: needs submitit; got none. Install the extra: pip install 'tumorcls[submitit]'"
        raise SubmissionError(message) from None
    for program in ("sbatch", "srun") if cluster == "slurm" else ():
        if shutil.which(program) is None:
            raise SubmissionError(
                f"search submit: needs Slurm's {program} on the PATH; got none. "
                "Run it on a login node of the cluster, or try it out here with --cluster local."
            )


def _parameters(name: str, resources: Resources, jobs: int) -> dict[str, Any]:
    """Returns what submitit's `AutoExecutor` takes; what is Slurm's alone is passed over by its local executor."""
    more = {**_OURS, **resources.more}
    if "no-requeue" in more:
        del more["requeue"]
    result: dict[str, Any] = {
        "name": name,
        "timeout_min": max(1, -int(-resources.seconds // 60)),
        "nodes": 1,
        "tasks_per_node": 1,
        "gpus_per_node": resources.gpus,
        "cpus_per_task": resources.cpus,
        "slurm_mem": resources.memory,
        "slurm_partition": resources.partition,
        "slurm_array_parallelism": jobs,
        "slurm_additional_parameters": more,
    }
    if "requeue" in more:
        result["slurm_setup"] = [_BACK]
    if resources.cpus is not None:  # since 22.05, srun does not take it from sbatch
        result["slurm_srun_args"] = [f"--cpus-per-task={resources.cpus}"]
    return result


def parse_more(options: Sequence[str]) -> dict[str, str | bool]:
    """Returns the options of sbatch that were given as ``KEY=VALUE``, or as ``KEY`` where they take no value.

    Raises:
        SubmissionError: One is empty, or is set by an option of ours.
    """
    result: dict[str, str | bool] = {}
    for option in options:
        key, equals, value = option.partition("=")
        key = key.strip().lstrip("-").replace("_", "-")
        if not key or any(character.isspace() for character in key):
            raise SubmissionError(f'--slurm: must be KEY=VALUE; got "{option}". Write --slurm account=lab, for example.')
        if key in _TAKEN:
            raise SubmissionError(f"--slurm {key}: must be left to search submit ({_TAKEN[key]}); got {option}. Remove it.")
        result[key] = value if equals else True
    return result
