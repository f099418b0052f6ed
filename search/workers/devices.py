"""Which device each worker may see, and the environment that says so to every backend.

Only environment variables are used, set before the worker's process begins: whatever backend its objective imports finds one
device and a share of its memory.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Mapping

from search.errors import WorkerError
from search.text import one_line, show

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Names the GPUs that a process may see."""

_NONE = frozenset({"", "-1", "nodevfiles", "void", "none"})  # NoDevFiles is what Slurm sets in a job without a GPU
_DEVICE = re.compile(r"[0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]{1,100}")

_SECONDS_TO_LIST = 30.0
_SECONDS_TO_LEAVE = 2.0

_SHARED_MEMORY = 0.9  # of a device, split among its workers; the rest is for contexts, which no backend counts

_MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_NEW_MEMORY = "XLA_CLIENT_MEM_FRACTION"  # replaces the first in new versions of JAX

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def visible_devices(environ: Mapping[str, str], warn: Callable[[str], None]) -> tuple[str, ...]:
    """Returns the GPUs that may be used, as ``CUDA_VISIBLE_DEVICES`` names them; none on a machine without.

    That variable counts where it is set, else what ``nvidia-smi -L`` lists. GPUs are named by their UUID, since ``nvidia-smi``
    and CUDA number them differently; of a GPU in MIG mode, its instances are listed. `warn` is told, in a line, where there is
    an ``nvidia-smi`` that fails; what it lists all the same counts.

    Raises:
        WorkerError: The variable names what can be no GPU.
    """
    if VISIBLE in environ:
        return _named(environ[VISIBLE])
    listed, failure = _list_gpus()
    devices: list[str] = []
    for kind, name in re.findall(r"UUID: ((?:GPU|MIG)-)([^)\s]+)", listed):
        if kind == "MIG-" and devices and devices[-1].startswith("GPU-"):
            devices.pop()  # the GPU that this instance is a part of; it cannot be used as a whole
        devices.append(kind + name)
    if failure:
        going_on = (
            f"with the {len(devices)} that it lists" if devices else "as without GPUs: workers are given none of their own"
        )
        warn(f"nvidia-smi -L: must list all GPUs; got {failure}. Going on {going_on}. Set {VISIBLE} to choose them yourself.")
    return tuple(devices)


def _list_gpus() -> tuple[str, str]:
    """Returns what ``nvidia-smi -L`` prints, and how it failed; both are empty where there is no such program."""
    try:
        program = subprocess.Popen(
            ["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError:
        return "", ""
    try:
        printed, _ = program.communicate(timeout=_SECONDS_TO_LIST)
    except subprocess.TimeoutExpired:
        program.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may wait in the driver for a lost GPU, which no signal ends
            program.communicate(timeout=_SECONDS_TO_LEAVE)
        return "", f"no answer for {_SECONDS_TO_LIST:g} s"
    if program.returncode == 0:
        return printed, ""
    said = [line for line in printed.splitlines() if "UUID:" not in line]
    return printed, f"exit code {program.returncode}{f': {one_line(said[-1])}' if said else ''}".rstrip(".")


def _named(listed: str) -> tuple[str, ...]:
    """The GPUs of ``CUDA_VISIBLE_DEVICES``: as CUDA has it, a word for none hides itself and all that follow it."""
    names: list[str] = []
    for name in (name.strip() for name in listed.split(",")):
        if name.lower() in _NONE:
            break
        if not _DEVICE.fullmatch(name):
            raise WorkerError(
                f"{VISIBLE}: must list numbers or UUIDs of GPUs; got {show(listed)}. Correct it, or set {VISIBLE}= to use none."
            )
        if name not in names:
            names.append(name)
    return tuple(names)


def check_places(workers: int, devices: tuple[str, ...], per_device: int) -> None:
    """Refuses more workers than the devices have places for.

    Raises:
        WorkerError: There are devices, and too few.
    """
    places = len(devices) * per_device
    if devices and workers > places:
        raise WorkerError(
            f"--workers: must be at most {places}, {len(devices)} GPU{'s' if len(devices) > 1 else ''} with "
            f"study.workers_per_device = {per_device}; got {workers}. Raise study.workers_per_device, or set {VISIBLE}= to "
            "use no GPU."
        )


def environ_of(
    worker: int, workers: int, devices: tuple[str, ...], per_device: int, environ: Mapping[str, str]
) -> dict[str, str]:
    """Returns the variables that a worker is started with; what the user has set in `environ` stays, but for the device.

    Workers and devices, of which each is shared by `per_device` workers, are paired in turn.
    """
    threads = usable_cpus() // workers if workers > 1 else None
    chosen = _shared(threads, 1 / per_device if devices else 1.0)
    return beside(environ, chosen | ({VISIBLE: devices[worker % len(devices)]} if devices else {}))


def beside(environ: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Returns those of the variables chosen for a worker that leave what the user has set as it is, but for the device."""
    kept = environ.keys() | ({_MEMORY} if _NEW_MEMORY in environ else set())  # JAX refuses the two together
    return {name: value for name, value in chosen.items() if name not in kept or name == VISIBLE}


def usable_cpus() -> int:
    """Returns how many CPUs this process may use; macOS knows no restriction, and has no way to ask for one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environ_of_place(cpus: float, gpus: float) -> dict[str, str]:
    """Returns the variables for a worker that an engine has given so many CPUs and GPUs, which may be fractions.

    The engine says which GPUs they are; where it is to give none, the worker must see none.
    """
    return _shared(int(cpus), gpus or 1.0) | ({} if gpus else {VISIBLE: ""})


def _shared(threads: int | None, of_device: float) -> dict[str, str]:
    """Returns the variables for a worker with a number of threads, or all, and a part of a device."""
    chosen = {"TF_CPP_MIN_LOG_LEVEL": "2"}  # TensorFlow's start-up chatter hides what matters in the log
    if threads is not None:
        # Each library would start a thread for each core in each worker, and all would be slower for it.
        chosen |= dict.fromkeys(_THREAD_VARIABLES, str(max(1, threads)))
    if of_device < 1:
        # JAX takes three quarters of a device when it starts, TensorFlow all of it.
        chosen |= {
            _MEMORY: f"{_SHARED_MEMORY * of_device:.2f}",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        }
    return chosen
