"""Arrays on disk, keyed by the content that they were made from, shared by every process of this machine and never trusted.

An entry is a `.npy` file with a checksum of each row behind its data. No row is used before its checksum has been compared,
and none is ever mapped: whatever happens to the file, at whatever moment, the rows are right, or they are made again.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import sys
import threading
import uuid
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

from tumorcls.cache.checked import tell_not_kept
from tumorcls.errors import ConfigError, DataError

DEFAULT_MAX_GIB = 20.0

HELD_ENTRY_BYTES = 256 * 2**20
"""An entry of at most this size is read whole and stays in memory; of a larger one each row is read when it is used."""

HELD_BYTES = 512 * 2**20
"""What a process keeps of such entries at most; the one that was not used for the longest time goes first."""

_CHECKSUM = np.dtype("<u4")


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


def max_bytes_of_environment() -> int:
    """Returns how much the cache may hold.

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


@dataclass(frozen=True)
class ArrayCache:
    """A folder of entries, one file per key.

    An entry is written to a temporary file and moved when it is whole, so that a killed writer leaves nothing that a reader
    would take, and is replaced but never written again. One process makes an entry while others wait for it. Past `max_bytes`
    the entries that were not used for the longest time are removed.
    """

    folder: Path
    max_bytes: int = field(default_factory=max_bytes_of_environment)

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
        entry = Stored(self, key, shape, np.dtype(dtype), make)
        self._ensure(entry)
        with contextlib.suppress(OSError):  # a cache that is only read has no last use
            os.utime(entry.path)
        return entry

    def _ensure(self, entry: "Stored", damaged: os.stat_result | None = None) -> None:
        """Makes an entry where there is none, or only the damaged one."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if damaged is None and entry.path.exists():
                return
            with self._alone(entry.key) as partial:
                if damaged is not None:
                    with contextlib.suppress(FileNotFoundError):
                        if os.path.samestat(entry.path.stat(), damaged):  # else another process has replaced it meanwhile
                            entry.path.unlink()
                if not entry.path.exists():
                    self._write(entry, partial)
        except OSError as error:
            entry.hold(error)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[Path]:
        """Keeps other processes from making the same entry; gives the name of the file to write it to."""
        lock = FileLock(self.folder / f"{key}.lock")  # the kernel frees it if its holder is killed
        try:
            lock.acquire()
        except NotImplementedError:  # a network drive without locks: whoever comes may write one, and the last one stays
            yield self.folder / f"{key}.{uuid.uuid4().hex[:12]}.partial"
            return
        try:
            yield self.folder / f"{key}.partial"  # a killed writer's is overwritten
        finally:
            lock.release()

    def _write(self, entry: "Stored", partial: Path) -> None:
        self._shrink(room_for=entry.file_bytes)
        done = 0
        try:
            with partial.open("wb") as file:
                if hasattr(os, "posix_fallocate"):  # makes a full disk an error here, not after an hour's work
                    os.posix_fallocate(file.fileno(), 0, entry.file_bytes)
                checksums = np.zeros(len(entry), _CHECKSUM)
                file.write(entry.header)
                for rows in entry.make():
                    block = np.ascontiguousarray(rows, dtype=entry.dtype)
                    assert block.shape[1:] == entry.shape[1:], "an entry must have the shape that it was asked for"
                    checksums[done : done + len(block)] = [zlib.crc32(row, entry.seed) for row in _bytes_of_rows(block)]
                    done += len(block)
                    file.write(block.data)
                assert done == len(entry), "an entry must have all its rows"
                file.write(checksums.tobytes())
                file.write(zlib.crc32(checksums.tobytes(), entry.seed).to_bytes(4, "little"))
            partial.replace(entry.path)
        finally:
            partial.unlink(missing_ok=True)

    def _shrink(self, room_for: int) -> None:
        entries = []
        for path in self.folder.glob("*.npy"):
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = room_for
        for _, size, path in sorted(entries, reverse=True):
            total += size
            if total > self.max_bytes:
                path.unlink(missing_ok=True)  # its lock file stays: removing one that is held would let two writers in


class Stored:
    """An entry of the cache: rows of an array, read-only, whose checksums are compared when they are read.

    What is damaged is dropped with a line on stderr and made again, which gives the same rows.
    """

    def __init__(self, cache: ArrayCache, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], make: Make) -> None:
        self.key = key
        self.shape = shape
        self.dtype = dtype
        self.make = make
        self.path = cache.folder / f"{key}.npy"
        self.seed = zlib.crc32(f"{key} {shape} {dtype.str}".encode())  # other content under this name has other checksums
        self.header = _header(shape, dtype)
        self.row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self.file_bytes = len(self.header) + shape[0] * (self.row_bytes + _CHECKSUM.itemsize) + _CHECKSUM.itemsize
        self._cache = cache
        self._open: _OpenEntry | None = None
        self._held: NDArray[Any] | None = None  # where the disk takes nothing in

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

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
            except _DamagedError as error:
                print(f"{self.path}: dropped and computed again; {error}", file=sys.stderr, flush=True)
                self._open = None
                self._cache._ensure(self, damaged=error.status)
        try:
            return self._read(rows)
        except _DamagedError as error:
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
            if self.file_bytes > max(HELD_ENTRY_BYTES, _bytes_to_spare()):
                raise DataError(
                    f"{self.path.parent}: the cache must be writable and have room for {self.file_bytes:,} bytes; "
                    f"{error.strerror or error}. Free some space, or name another folder in TUMORCLS_CACHE."
                ) from None
            tell_not_kept(self.path.parent, error)
            nothing = np.empty((0, *self.shape[1:]), self.dtype)
            self._held = np.concatenate([nothing, *(np.asarray(rows, self.dtype) for rows in self.make())])
            self._held.flags.writeable = False
            _HELD.put(self.path, self._held)

    def _read(self, rows: Any) -> NDArray[Any]:
        if self._held is not None:
            held: NDArray[Any] = self._held[rows]
            return held
        if self.file_bytes > HELD_ENTRY_BYTES:
            if self._open is None:
                self._open = _OpenEntry(self)
            return self._open.rows(np.arange(len(self))[rows])
        whole = _HELD.get(self.path)
        if whole is None:
            whole = _OpenEntry(self).rows(np.arange(len(self)))
            whole.flags.writeable = False
            _HELD.put(self.path, whole)
        taken: NDArray[Any] = whole[rows]
        return taken


class _OpenEntry:
    """The open file of an entry; it stays readable when its name is given to another one."""

    def __init__(self, entry: Stored) -> None:
        self._entry = entry
        self._status: os.stat_result | None = None
        try:
            self._status = entry.path.stat()
            self._file = entry.path.open("rb", buffering=0)
        except OSError as error:
            raise self._damaged(f"it cannot be opened: {error.strerror}") from error
        weakref.finalize(self, self._file.close)
        self._status = os.fstat(self._file.fileno())
        if self._status.st_size != entry.file_bytes:
            raise self._damaged(f"it must have {entry.file_bytes:,} bytes and has {self._status.st_size:,}")
        header = bytearray(len(entry.header))
        self._read(0, memoryview(header))
        if header != entry.header:
            raise self._damaged("it does not begin as it must")
        table = np.empty(len(entry) + 1, _CHECKSUM)
        self._read(len(header) + len(entry) * entry.row_bytes, table.data.cast("B"))
        if zlib.crc32(table[:-1].tobytes(), entry.seed) != table[-1]:
            raise self._damaged("its checksums are damaged")
        self._checksums: list[int] = table.tolist()

    def rows(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Returns rows by their indices, a whole number or any shape of them, each compared with its checksum."""
        entry, flat = self._entry, wanted.ravel()
        found = np.empty((flat.size, *entry.shape[1:]), entry.dtype)
        places = _bytes_of_rows(found)
        begins = np.flatnonzero(np.diff(flat, prepend=-2) != 1).tolist()
        for begin, end in pairwise([*begins, flat.size]):  # neighbours are read at once
            if entry.row_bytes:
                self._read(len(entry.header) + int(flat[begin]) * entry.row_bytes, places[begin:end].data.cast("B"))
        for row, place in zip(flat.tolist(), places, strict=True):
            if zlib.crc32(place, entry.seed) != self._checksums[row]:
                raise self._damaged(f"row {row} differs from its checksum")
        return found.reshape((*wanted.shape, *entry.shape[1:]))

    def _read(self, offset: int, memory: memoryview) -> None:
        try:
            self._file.seek(offset)
            while memory:
                count = self._file.readinto(memory)
                if not count:
                    raise self._damaged("it is cut short")
                memory = memory[count:]
        except OSError as error:
            raise self._damaged(f"it cannot be read: {error.strerror}") from error

    def _damaged(self, what: str) -> "_DamagedError":
        return _DamagedError(what, self._status)


class _DamagedError(Exception):
    """An entry is not what was written, and why; `status` tells the file from one that has replaced it meanwhile."""

    def __init__(self, what: str, status: os.stat_result | None = None) -> None:
        super().__init__(what)
        self.status = status


class _Held:
    """The entries that this process keeps in memory."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Path, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()  # workers may be threads

    def get(self, path: Path) -> NDArray[Any] | None:
        with self._lock:
            if path in self._entries:
                self._entries.move_to_end(path)
            return self._entries.get(path)

    def put(self, path: Path, array: NDArray[Any]) -> None:
        with self._lock:
            self._entries[path] = array
            while sum(kept.nbytes for kept in self._entries.values()) > HELD_BYTES:
                self._entries.popitem(last=False)


_HELD = _Held()


def _bytes_to_spare() -> int:
    """Returns a quarter of the memory that is free at the moment; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, OSError, ValueError):
        return 0


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def _bytes_of_rows(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the memory of a contiguous array, shape (rows, bytes of a row)."""
    if array.size == 0:
        return np.empty((len(array), 0), np.uint8)
    return array.reshape(len(array), -1).view(np.uint8)
