"""Arrays on disk, keyed by the content that they were made from, shared by every process of this machine and never trusted."""

import contextlib
import hashlib
import json
import os
import sys
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike, NDArray

from tumorcls import activity
from tumorcls.cache.checked import tell_not_kept
from tumorcls.cache.entry_file import DamagedError, EntryFile, OpenEntry
from tumorcls.cache.folder import ARRAYS, PARTIAL, make_folder, make_room, max_bytes_of_environment
from tumorcls.errors import DataError, reason

HELD_ENTRY_BYTES = 256 * 2**20
"""An entry of at most this size is read whole and stays in memory; of a larger one each row is read when it is used."""

HELD_BYTES = 512 * 2**20
"""What a process keeps of such entries at most; the one that was not used for the longest time goes first."""

_SECONDS_TO_WAIT = 1.0  # for a lock, before it is said again


class Rows(Protocol):
    """What an array and an entry of the cache have in common: rows that are read by index, slice or array of indices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole; the first is the number of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


Make = Callable[[], Iterable[NDArray[Any]]]
"""Makes the content of an entry anew, some rows at a time; the same rows each time."""


def content_key(**parts: object) -> str:
    """Returns a hash of named parts (anything that JSON can hold) as 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class ArrayCache:
    """The arrays of a cache folder, one file per key.

    An entry is written to a temporary file and moved when it is whole, so that a killed writer leaves nothing that a reader
    would take, and is replaced but never written again. One process makes an entry while others wait for it. Before one is
    written, `tumorcls.cache.folder.make_room` keeps the cache folder below `max_bytes`.
    """

    cache: Path
    max_bytes: int = field(default_factory=max_bytes_of_environment)

    @property
    def folder(self) -> Path:
        """Holds the entries."""
        return self.cache / ARRAYS

    def get(self, key: str, shape: tuple[int, ...], dtype: DTypeLike, make: Make) -> "Stored":
        """Returns the entry of `key`, made where there is none.

        Args:
            key: From `content_key`.
            shape: Shape of the array; the first is the number of rows.
            dtype: Its type.
            make: Makes the array: now, or whenever what the disk gives back is not what was written.

        Raises:
            DataError: The folder cannot be written or the disk is full, and the entry is too large to be kept in memory.
        """
        entry = Stored(self, EntryFile(self.folder / f"{key}.npy", shape, np.dtype(dtype)), make)
        self._ensure(entry)
        with contextlib.suppress(OSError):  # a cache that is only read has no last use
            os.utime(entry.path)
        return entry

    def _ensure(self, entry: "Stored", damaged: os.stat_result | None = None) -> None:
        """Makes an entry where there is none, or only the damaged one."""
        try:
            make_folder(self.cache)
            self.folder.mkdir(exist_ok=True)
            if damaged is None and entry.path.exists():
                return
            with self._alone(entry.path) as partial:
                if damaged is not None:
                    with contextlib.suppress(FileNotFoundError):
                        if os.path.samestat(entry.path.stat(), damaged):  # else another process has replaced it meanwhile
                            entry.path.unlink()
                if not entry.path.exists():
                    partial.unlink(missing_ok=True)  # a killed writer's
                    make_room(self.cache, entry.file.size, self.max_bytes)
                    entry.file.write(partial, entry.make)
        except OSError as error:
            entry.hold(error)

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[Path]:
        """Keeps other processes from making the same entry; gives the name of the file to write it to."""
        lock = FileLock(path.with_suffix(".lock"))  # the kernel frees it if its holder is killed
        try:
            while True:
                try:
                    lock.acquire(timeout=_SECONDS_TO_WAIT)
                    break
                except Timeout:
                    activity.tell("waiting for a process that fills the cache")
        except NotImplementedError:  # a network drive without locks: whoever comes may write one, and the last one stays
            yield path.with_suffix(f".{uuid.uuid4().hex[:12]}.partial")
            return
        try:
            yield path.with_suffix(PARTIAL)
        finally:
            lock.release()


class Stored:
    """An entry of the cache: rows of an array, read-only, whose checksums are compared when they are read.

    What is damaged is dropped with a line on stderr and made again, which gives the same rows.
    """

    def __init__(self, cache: ArrayCache, file: EntryFile, make: Make) -> None:
        """Names an entry that may not be there yet; see `ArrayCache.get`."""
        self.file = file
        self.path, self.shape, self.dtype = file.path, file.shape, file.dtype
        self.make = make
        self._cache = cache
        self._open: OpenEntry | None = None
        self._held: NDArray[Any] | None = None  # where the disk takes nothing in

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype=dtype, copy=copy)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Returns rows by index, slice or array of indices.

        Raises:
            DataError: What is damaged cannot be made again.
        """
        for _ in range(2):
            try:
                return self._read(rows)
            except DamagedError as error:
                print(f"{self.path}: dropped and computed again; {error}", file=sys.stderr, flush=True)
                self._open = None
                self._cache._ensure(self, damaged=error.status)
        try:
            return self._read(rows)
        except DamagedError as error:
            raise DataError(
                f"{self.path}: the cache must give back what was written to it; got twice: {error}. "
                "Name a folder on another disk in TUMORCLS_CACHE."
            ) from None

    def hold(self, error: OSError) -> None:
        """Makes the entry in memory, since the disk does not take it.

        Raises:
            DataError: It is too large for that.
        """
        self._held = _HELD.get(self.path)
        if self._held is None:
            if self.file.size > max(HELD_ENTRY_BYTES, _bytes_to_spare()):
                raise DataError(
                    f"{self.path.parent}: the cache must be writable and have room for {self.file.size:,} bytes; "
                    f"{reason(error)}. Free some space, or name another folder in TUMORCLS_CACHE."
                ) from None
            tell_not_kept(self._cache.cache, error)
            nothing = np.empty((0, *self.shape[1:]), self.dtype)
            self._held = np.concatenate([nothing, *(np.asarray(rows, self.dtype) for rows in self.make())])
            _HELD.put(self.path, self._held)

    def _read(self, rows: Any) -> NDArray[Any]:
        whole = self._held if self._held is not None else _HELD.get(self.path)
        if whole is None and self.file.size > HELD_ENTRY_BYTES:
            if self._open is None:
                self._open = OpenEntry(self.file)
            return self._open.rows(np.arange(len(self))[rows])
        if whole is None:
            whole = OpenEntry(self.file).rows(np.arange(len(self)))
            _HELD.put(self.path, whole)
        result: NDArray[Any] = whole[rows]
        return result


class _Held:
    """The entries that this process keeps in memory, read-only."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Path, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()  # workers may be threads

    def get(self, path: Path) -> NDArray[Any] | None:
        with self._lock:
            if path in self._entries:
                self._entries.move_to_end(path)
            return self._entries.get(path)

    def put(self, path: Path, array: NDArray[Any]) -> None:
        array.flags.writeable = False
        with self._lock:
            self._entries[path] = array
            while sum(held.nbytes for held in self._entries.values()) > HELD_BYTES:
                self._entries.popitem(last=False)


_HELD = _Held()


def _bytes_to_spare() -> int:
    """Returns a quarter of the memory that is free at the moment; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, OSError, ValueError):
        return 0
