"""Arrays on disk, keyed by the content that they were made from and shared by every process of this machine."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

from tumorcls.errors import DataError

DEFAULT_MAX_GIB = 20.0


def content_key(**parts: object) -> str:
    """Returns a hash of named parts (anything that JSON can hold) as 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class ArrayCache:
    """A folder of `.npy` files, one per key, opened as read-only memory maps.

    An entry is written to a temporary file and moved when it is whole, so that a killed writer leaves nothing that a reader
    would take. One process makes an entry while others wait for it. Past `max_bytes` the entries that were not used for the
    longest time are removed; a process that has one open keeps it, as is usual for files.
    """

    folder: Path
    max_bytes: int = field(default_factory=lambda: int(float(os.environ.get("TUMORCLS_CACHE_GIB", DEFAULT_MAX_GIB)) * 2**30))

    def get(self, key: str, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[NDArray[Any]], None]) -> NDArray[Any]:
        """Returns the entry of `key`, made by `fill` where there is none.

        Args:
            key: From `content_key`.
            shape: Shape of the array.
            dtype: Its type.
            fill: Writes the whole of the array that it is given.

        Raises:
            DataError: The folder cannot be written or the disk is full.
        """
        path = self.folder / f"{key}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                with FileLock(self.folder / f"{key}.lock"):  # the kernel frees it if its holder is killed
                    if not path.exists():
                        self._write(path, shape, dtype, fill)
            os.utime(path)  # last use, for `_shrink`
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise DataError(
                f"{self.folder}: the cache must be writable and have room; {error.strerror or error}. "
                "Free some space, or name another folder in TUMORCLS_CACHE."
            ) from None
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype)), "a key must name its content"
        return array

    def _write(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[NDArray[Any]], None]) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._shrink(room_for=size)
        partial = path.with_suffix(".partial")  # the lock is held: nobody else writes it, and a killed writer's is overwritten
        try:
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.dtype(dtype), shape=shape)
            if hasattr(os, "posix_fallocate"):  # makes a full disk an error here, where it would be a SIGBUS in the map later
                with partial.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
            fill(array)
            array.flush()
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _shrink(self, room_for: int) -> None:
        entries = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.npy")), reverse=True)
        total = room_for
        for _, size, path in entries:
            total += size
            if total > self.max_bytes:
                path.unlink(missing_ok=True)  # its lock file stays: removing one that is held would let two writers in
