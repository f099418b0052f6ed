"""Whether memory ran out or a device failed, as exceptions and the kernel say, and how much memory a process has in use."""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

# TensorFlow's ResourceExhaustedError, torch's and CuPy's OutOfMemoryError, the texts of XLA, CUDA and cuBLAS.
_NAMES = frozenset({"ResourceExhaustedError", "OutOfMemoryError"})
_TEXTS = re.compile(
    r"out of memory|\bOOM\b|RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|CU(BLAS|DNN)_STATUS_ALLOC_FAILED", re.IGNORECASE
)
_DISK = re.compile(r"no space left|disk quota", re.IGNORECASE)  # TensorFlow calls a full disk an exhausted resource too

# What CUDA and its libraries say, through any backend, of a device that does nothing more for the process, or never did.
_DEVICE_TEXTS = re.compile(
    r"CUDA_ERROR_|\bCUDA error\b|illegal memory access|CU(BLAS|DNN|SOLVER|FFT)_STATUS_|cuDNN launch failure|device-side assert"
    r"|uncorrectable ECC|GPU is lost|DNN library initialization failed|Failed to get convolution algorithm"
    r"|no supported devices found for platform",
    re.IGNORECASE,
)

_VMSTAT = Path("/proc/vmstat")


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception, or one that it was raised from, says that memory ran out.

    Backends are recognised by the names of their classes and by their messages: none of them is imported for it.
    """
    for link in _chain(error):
        names = {kind.__name__ for kind in type(link).__mro__}
        if isinstance(link, MemoryError) or ((names & _NAMES or _TEXTS.search(str(link))) and not _DISK.search(str(link))):
            return True
    return False


def is_device_failure(error: BaseException) -> bool:
    """Returns whether an exception, or one that it was raised from, says that the device failed, other than for want of memory.

    After most of these every further call to the device fails too, for as long as the process lives.
    """
    return not is_out_of_memory(error) and any(_DEVICE_TEXTS.search(str(link)) for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception and those that it was raised from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def memory_in_use() -> int:
    """Returns the bytes of this process that lie in the host's memory."""
    return int(psutil.Process().memory_info().rss)


class OomKills:
    """Counts the processes that the kernel has killed for want of memory, since this object was made.

    The kernel's counter (``oom_kill`` in ``/proc/vmstat``, from Linux 4.13 on) covers the whole machine, so that a kill is only
    evidence for a process that has just died of SIGKILL.
    """

    def __init__(self) -> None:
        self._accounted = _read_counter()

    def account(self) -> bool:
        """Returns whether there was a kill that no earlier call has accounted for, and accounts for it."""
        if _read_counter() <= self._accounted:
            return False
        self._accounted += 1
        return True


def _read_counter() -> int:
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:  # no Linux, or hidden from us
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
