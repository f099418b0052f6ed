"""The file of one cached array: `.npy`, with a checksum of each row behind its data.

No row is used before its checksum has been compared, and none is ever mapped: whatever happens to the file, at whatever moment,
the rows that are read are right, or `DamagedError` says why not.
"""

import io
import math
import os
import weakref
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHECKSUM = np.dtype("<u4")


class DamagedError(Exception):
    """A file is not what was written, and why; `status` tells it from one that has replaced it meanwhile."""

    def __init__(self, what: str, status: os.stat_result | None = None) -> None:
        """Notes what is wrong."""
        super().__init__(what)
        self.status = status


@dataclass(frozen=True)
class EntryFile:
    """Where an array lies, and what must be there.

    Attributes:
        path: Its stem is the entry's key, on which the checksums depend: the file of another key is a damaged one.
        shape: Of the array; the first is the number of rows.
        dtype: Of the array.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @cached_property
    def header(self) -> bytes:
        """What a `.npy` file of this shape and type begins with."""
        file = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, described)
        return file.getvalue()

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return len(self.header) + self.shape[0] * (self.row_bytes + _CHECKSUM.itemsize) + _CHECKSUM.itemsize

    def write(self, partial: Path, make: Callable[[], Iterable[NDArray[Any]]]) -> None:
        """Writes the rows that `make` gives to a temporary file, once there is room for all, and moves it when it is whole.

        Raises:
            OSError: The folder is not writable, or the disk is full.
        """
        try:
            with partial.open("wb") as file:
                if hasattr(os, "posix_fallocate"):  # makes a full disk an error here, not after an hour's work
                    os.posix_fallocate(file.fileno(), 0, self.size)
                file.write(self.header)
                checksums: list[int] = []
                for rows in make():
                    block = np.ascontiguousarray(rows, dtype=self.dtype)
                    assert block.shape[1:] == self.shape[1:], "an entry must have the shape that it was asked for"
                    file.write(block.data)
                    checksums += [self.checksum(row) for row in _bytes_of_rows(block)]
                assert len(checksums) == self.shape[0], "an entry must have all its rows"
                table = np.array(checksums, _CHECKSUM)
                file.write(table.tobytes())
                file.write(self.checksum(table).to_bytes(4, "little"))
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def checksum(self, content: NDArray[Any]) -> int:
        """Returns the checksum of a row's bytes, another one for each key, shape and type."""
        return zlib.crc32(content.data, self._seed)

    @cached_property
    def _seed(self) -> int:
        return zlib.crc32(f"{self.path.stem} {self.shape} {self.dtype.str}".encode())


class OpenEntry:
    """An open file; it stays readable when its name is given to another one. Threads may share it."""

    def __init__(self, entry: EntryFile) -> None:
        """Opens the file and checks all but its rows.

        Raises:
            DamagedError: It is not what was written.
        """
        self._entry = entry
        self._status: os.stat_result | None = None
        try:
            self._status = entry.path.stat()
            self._file = entry.path.open("rb", buffering=0)
        except OSError as error:
            raise self._damaged(f"it cannot be opened: {error.strerror}") from error
        weakref.finalize(self, self._file.close)
        self._status = os.fstat(self._file.fileno())
        if self._status.st_size != entry.size:
            raise self._damaged(f"it must have {entry.size:,} bytes and has {self._status.st_size:,}")
        header = np.empty(len(entry.header), np.uint8)
        self._read(0, header)
        if header.tobytes() != entry.header:
            raise self._damaged("it does not begin as it must")
        table = np.empty(entry.shape[0] + 1, _CHECKSUM)
        self._read(len(header) + entry.shape[0] * entry.row_bytes, table)
        if entry.checksum(table[:-1]) != table[-1]:
            raise self._damaged("its checksums are damaged")
        self.checksums: list[int] = table.tolist()

    def rows(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Returns rows by their indices, a whole number or any shape of them, each compared with its checksum.

        Raises:
            DamagedError: A row is not what was written.
        """
        entry, flat = self._entry, wanted.ravel()
        result = np.empty((flat.size, *entry.shape[1:]), entry.dtype)
        memory = _bytes_of_rows(result)
        begins = np.flatnonzero(np.diff(flat, prepend=-2) != 1).tolist()
        for begin, end in pairwise([*begins, flat.size]):  # neighbours are read at once
            self._read(len(entry.header) + int(flat[begin]) * entry.row_bytes, memory[begin:end])
        for row, content in zip(flat.tolist(), memory, strict=True):
            if entry.checksum(content) != self.checksums[row]:
                raise self._damaged(f"row {row} differs from its checksum")
        return result.reshape((*wanted.shape, *entry.shape[1:]))

    def _read(self, offset: int, array: NDArray[Any]) -> None:
        if not array.size:
            return
        memory = array.data.cast("B")
        try:
            while memory:
                count = os.preadv(self._file.fileno(), [memory], offset)
                if not count:
                    raise self._damaged("it is cut short")
                memory, offset = memory[count:], offset + count
        except OSError as error:
            raise self._damaged(f"it cannot be read: {error.strerror}") from error

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(what, self._status)


def _bytes_of_rows(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the memory of a contiguous array, shape (rows, bytes of a row)."""
    if array.size == 0:
        return np.empty((len(array), 0), np.uint8)
    return array.reshape(len(array), -1).view(np.uint8)
