"""The identity of this machine, and whether a process of it still runs, told by what no clock moves."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")
_FIRST_NAMESPACE = 0xEFFFFFFC  # of process ids, where no container is: PROC_PID_INIT_INO of Linux
_STATE, _START = 0, 19  # in /proc/PID/stat, behind the program's name; see proc_pid_stat(5)
_ENDED = b"ZX"  # nobody has collected it yet, as in a container without an init process


@dataclass(frozen=True)
class Machine:
    """Where process ids mean the same: a boot of a machine, or of a container on it.

    Attributes:
        boot: Names the boot; empty where the system has no such name.
        space: The namespaces of process ids and of time; empty where the system has none.
        installed: Names the installation, in a hash; empty where the system has no such name.
    """

    boot: str = ""
    space: str = ""
    installed: str = ""


def is_container(space: str) -> bool:
    """Returns whether a process of this `Machine.space` cannot see others of the machine."""
    return space != "" and not space.startswith(f"{_FIRST_NAMESPACE}.")


@functools.cache
def here() -> Machine:
    """Returns the machine that this process runs on."""
    installed = _text(Path("/etc/machine-id"))
    return Machine(
        boot=_text(_PROC / "sys/kernel/random/boot_id"),
        space=".".join(_namespace(kind) for kind in ("pid", "time")) if (_PROC / "self/ns/pid").exists() else "",
        # Its own manual asks for a hash: https://www.freedesktop.org/software/systemd/man/machine-id.html
        installed=hashlib.sha256(f"search {installed}".encode()).hexdigest()[:16] if installed else "",
    )


def started(pid: int | None = None) -> float:
    """Returns when this process, or another one, began.

    In clock ticks since the machine's boot where that is known, which no step of the wall clock moves; else as psutil has it.

    Raises:
        ProcessLookupError: It has ended.
        PermissionError: Whose it is keeps that from us.
    """
    if not here().boot:
        try:
            return float(psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            raise ProcessLookupError(pid) from None
        except psutil.AccessDenied:
            raise PermissionError(pid) from None
    if pid is not None:
        os.kill(pid, 0)  # no signal: is it there at all?
        if os.readlink(_PROC / "self") != str(os.getpid()):
            raise PermissionError(f"{_PROC} is another namespace's")
    try:
        stat = (_PROC / ("self" if pid is None else str(pid)) / "stat").read_bytes()
    except FileNotFoundError:  # with hidepid, or it ended just now
        raise PermissionError(pid) from None
    fields = stat[stat.rindex(b")") + 1 :].split()  # the name may hold blanks and brackets
    if fields[_STATE] in _ENDED:
        raise ProcessLookupError(pid)
    return int(fields[_START])


def is_running(pid: int, since: float) -> bool:
    """Returns False where a process of this machine is known to have ended.

    Args:
        pid: Its id, which another process may have by now.
        since: What `started` said of it.
    """
    try:
        return started(pid) == since
    except ProcessLookupError:
        return False
    except PermissionError:
        return True


def _namespace(kind: str) -> str:
    """Returns the number of this process's namespace of a kind; empty where the kernel has none of that kind."""
    try:
        return os.readlink(_PROC / "self/ns" / kind).partition("[")[2].rstrip("]")
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
