"""The cache folder: where it is, how much it may hold, and what goes first when it is full."""

import contextlib
import math
import os
import stat
import time
from pathlib import Path

from filelock import FileLock, Timeout

from tumorcls.errors import ConfigError

DEFAULT_MAX_GIB = 20.0
_LONGEST_WRITE_S = 24 * 3600.0

ARRAYS = "arrays"
"""Folder of the entries of `tumorcls.cache.arrays.ArrayCache` inside the cache folder."""

PARTIAL = ".partial"
"""Ends the name of the file that an entry is written to, until it is whole."""

_RECORDS = tuple(f"{kind}-{'[0-9a-f]' * 24}.npz" for kind in ("scan", "groups", "data"))
_REMOVABLE = (f"{ARRAYS}/*.npy", *_RECORDS)
_HALF_WRITTEN = (f"{ARRAYS}/*{PARTIAL}",)
_LASTING = ("jax/*", "phantoms-v*/**/*")
"""What JAX compiled (it bounds that itself, see `tumorcls.model.backend`) and generated images, which a study may be using."""


def cache_folder() -> Path:
    """Returns where all that was computed once is kept: `$TUMORCLS_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("TUMORCLS_CACHE", "")
    return Path(chosen).expanduser() if chosen.strip() else user_cache_path("tumorcls")


def make_folder(cache: Path) -> None:
    """Makes the cache folder, which holds images, for this account alone; one that is there keeps its mode.

    Raises:
        OSError: It cannot be made.
    """
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)


def max_bytes_of_environment() -> int:
    """Returns how much the cache folder may hold.

    Raises:
        ConfigError: TUMORCLS_CACHE_GIB is no number above 0.
    """
    text = os.environ.get("TUMORCLS_CACHE_GIB", "").strip()
    try:
        size = float(text) if text else DEFAULT_MAX_GIB
    except ValueError:
        size = math.nan
    if not (0 < size < 2**30):
        raise ConfigError(f"TUMORCLS_CACHE_GIB: must be a number of GiB above 0; got {text[:40]!r}. Write 20, or unset it.")
    return int(size * 2**30)


def make_room(cache: Path, wanted: int, max_bytes: int) -> None:
    """Removes arrays and records that were not used for the longest time, until `wanted` more bytes fit into `max_bytes`.

    Before them goes what killed writers left, of which nobody has any use. All that is kept in the cache folder counts; nothing
    else that lies there does, or is touched. Lock files stay: removing one that is held would let two writers in.
    """
    for _, _, path in _files(cache, _HALF_WRITTEN):
        _remove_if_left(path)
    total = wanted + sum(size for _, size, _ in _files(cache, (*_LASTING, *_HALF_WRITTEN)))
    for _, size, path in sorted(_files(cache, _REMOVABLE), reverse=True):
        total += size
        if total > max_bytes:
            path.unlink(missing_ok=True)


def _remove_if_left(partial: Path) -> None:
    """Removes a half-written file, but none that somebody is writing."""
    with contextlib.suppress(Timeout, OSError):
        try:
            if "." in partial.stem:
                raise NotImplementedError
            with FileLock(partial.with_suffix(".lock")).acquire(timeout=0):
                partial.unlink(missing_ok=True)
        except NotImplementedError:  # a drive without locks
            if time.time() - partial.stat().st_mtime > _LONGEST_WRITE_S:
                partial.unlink(missing_ok=True)


def _files(cache: Path, patterns: tuple[str, ...]) -> list[tuple[float, int, Path]]:
    """Returns time of last use, size in bytes and path of each file."""
    files = []
    for path in (path for pattern in patterns for path in cache.glob(pattern)):
        with contextlib.suppress(OSError):  # another process makes room too
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                files.append((status.st_mtime, status.st_size, path))
    return files
