"""HDF5 files that are safe to read: what one names and how much it asks for is known before any of its data is read.

HDF5 files may name other files (external links, external storage, virtual data sets), may claim arrays of any size in a few
bytes, and may inflate a chunk without end. ``.mat`` slices and Keras weights need none of it.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, BinaryIO

import h5py

from tumorcls.errors import DataError, reason


@dataclass(frozen=True)
class Limits:
    """What a file may hold at most.

    Attributes:
        total_bytes: Of all its arrays together once they are read, and of the texts of one attribute.
        objects: Links, that is groups and arrays by all their names, and as many attributes.
        depth: Groups inside one another.
    """

    total_bytes: int
    objects: int
    depth: int = 32


SLICE = Limits(total_bytes=64 * 2**20, objects=200)
"""One slice of figshare's, of 16 bits and 4096x4096 (`data.decoding.MAX_PIXELS`) or doubles of 2048x2048, with a mask."""

UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises for a file that is not what it should be."""

_MAX_CHUNKS = 2**16
_ATTRIBUTE_BYTES = 2**20
_ATTRIBUTES = 1000  # of one object
_CHECKSUM = 4  # bytes that Fletcher-32 adds
_HEAP_SIGNATURE = b"GCOL\x01\x00\x00\x00"


class _Refused(Exception):
    """The rule that a file breaks, and what it has instead."""


def open_hdf5(file: BinaryIO, where: str, limits: Limits) -> h5py.File:
    """Opens an HDF5 file once it is known to be safe. All links are hard links, so nothing that is read leaves the file.

    Args:
        file: Open for reading; it must stay so while the result is used.
        where: The file's name, for the message of an error.
        limits: What it may hold.

    Returns:
        The file, open for reading; the caller closes it.

    Raises:
        DataError: It is no HDF5 file, it names other files, or it has more or other contents than it may.
    """
    try:
        opened = h5py.File(file, "r")
    except UNREADABLE as error:
        raise DataError(f"{where}: must be an HDF5 file; got {reason(error)}. Get the file again.") from None
    try:
        _check(opened, cache(partial(_largest_text, file)), limits)
    except (_Refused, *UNREADABLE) as error:
        opened.close()
        rule = str(error) if isinstance(error, _Refused) else f"must be a whole HDF5 file; got {reason(error)}"
        raise DataError(f"{where}: {rule}. Get the file again from where it comes from.") from None
    return opened


def _largest_text(file: BinaryIO) -> int:
    """Returns the size of the largest object in any global heap, where texts of free length lie; many may share one."""
    file.seek(0)
    content = file.read()
    largest, offset = 0, content.find(_HEAP_SIGNATURE)
    while offset >= 0:
        end = min(len(content), offset + int.from_bytes(content[offset + 8 : offset + 16], "little"))
        entry = offset + 16
        while entry + 16 <= end and content[entry : entry + 2] != b"\0\0":
            size = int.from_bytes(content[entry + 8 : entry + 16], "little")
            largest = max(largest, size)
            entry += 16 + (size + 7) // 8 * 8
        offset = content.find(_HEAP_SIGNATURE, offset + 1)
    return largest


def _check(opened: h5py.File, largest_text: Callable[[], int], limits: Limits) -> None:
    total = links = attributes = 0
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[Any, str, int]] = [(h5py.h5g.open(opened.id, b"/"), "", 0)]
    while waiting:
        item, name, depth = waiting.pop()
        info = h5py.h5o.get_info(item)
        if (info.fileno, info.addr) in seen:
            continue
        seen.add((info.fileno, info.addr))
        attributes += _check_attributes(item, name or "/", largest_text, limits)
        if isinstance(item, h5py.h5d.DatasetID):
            total += _check_array(item, name, limits)
            if total > limits.total_bytes:
                raise _Refused(f"its arrays must take at most {limits.total_bytes:,} bytes; got {total:,} by {name}")
        elif isinstance(item, h5py.h5g.GroupID):
            children = list(_children(item, name, limits))
            links += len(children)
            waiting += [(child, path, depth + 1) for child, path in children]
            if depth > limits.depth:
                raise _Refused(f"groups must be at most {limits.depth} deep; got {name[:80]}")
        else:
            raise _Refused(f"must hold only groups and arrays; got {name}, a {type(item).__name__}")
        if max(links, attributes) > limits.objects:
            raise _Refused(f"must hold at most {limits.objects:,} objects and attributes; got more")


def _children(group: Any, name: str, limits: Limits) -> Iterator[tuple[Any, str]]:
    count = group.get_num_objs()
    if count > limits.objects:
        raise _Refused(f"must hold at most {limits.objects:,} objects and attributes; got {count:,} in {name or '/'}")
    listed: list[tuple[bytes, int]] = []

    def note(key: bytes, info: Any) -> bool | None:
        listed.append((key, info.type))
        return True if len(listed) > limits.objects else None

    group.links.iterate(note, info=True)
    for key, kind in listed:
        path = f"{name}/{key.decode('utf-8', 'backslashreplace')}"
        if kind != h5py.h5l.TYPE_HARD:
            raise _Refused(f"must hold no link to elsewhere; got {path}, a soft or external link")
        yield h5py.h5o.open(group, key), path


def _check_attributes(item: Any, name: str, largest_text: Callable[[], int], limits: Limits) -> int:
    count: int = h5py.h5a.get_num_attrs(item)
    if count > _ATTRIBUTES:
        raise _Refused(f"{name} must have at most {_ATTRIBUTES:,} attributes; got {count:,}")
    for index in range(count):
        attribute = h5py.h5a.open(item, index=index)
        kind, points = attribute.get_type(), _points(attribute.get_space())
        if isinstance(kind, h5py.h5t.TypeVlenID) or (isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()):
            element = largest_text()
            known = isinstance(kind, h5py.h5t.TypeStringID) or _plain(kind.get_super())
            limit = limits.total_bytes
        else:
            element, limit = kind.get_size(), _ATTRIBUTE_BYTES
            known = _plain(kind.get_super() if isinstance(kind, h5py.h5t.TypeEnumID) else kind)
        if not known or points * element > limit:
            raise _Refused(
                f"attributes of {name} must be short texts and numbers; got {points:,} values of up to {element:,} bytes"
            )
    return count


def _plain(kind: Any) -> bool:
    """Returns whether a type is a number of up to 8 bytes or a text of fixed length."""
    if isinstance(kind, h5py.h5t.TypeStringID):
        return not kind.is_variable_str()
    return isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID) and kind.get_size() <= 8


def _points(space: Any) -> int:
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        return 0
    return int(space.get_simple_extent_npoints())


def _check_array(item: Any, name: str, limits: Limits) -> int:
    """Returns how many bytes an array takes once it is read."""
    plan = item.get_create_plist()
    layout = plan.get_layout()  # asked first: the shape of a virtual data set would open the files that it names
    if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or plan.get_external_count():
        raise _Refused(f"must hold its own data; {name} names other files")
    if not _plain(item.get_type()):
        raise _Refused(f"{name} must be numbers or text; got another type")
    size, points = int(item.get_type().get_size()), _points(item.get_space())
    if points * size > limits.total_bytes:
        raise _Refused(f"its arrays must take at most {limits.total_bytes:,} bytes; got {points * size:,} by {name}")
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(item, plan, name, size, limits)
    return points * size


def _check_chunks(item: Any, plan: Any, name: str, element: int, limits: Limits) -> None:
    sides, extents = plan.get_chunk(), item.get_space().get_simple_extent_dims()
    chunk = element * math.prod(sides)
    blocks = math.prod(-(-extent // side) for side, extent in zip(sides, extents, strict=True))
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    after = filters[filters.index(h5py.h5z.FILTER_DEFLATE) + 1 :] if h5py.h5z.FILTER_DEFLATE in filters else []
    known = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
    if len(filters) != len(set(filters)) or set(filters) - known or set(after) - {h5py.h5z.FILTER_FLETCHER32}:
        raise _Refused(f"{name} must be stored plainly or by gzip; got the filters {filters[:8]}")
    if chunk > limits.total_bytes or blocks > _MAX_CHUNKS:
        raise _Refused(
            f"{name} must have at most {_MAX_CHUNKS:,} chunks of no more than its size; got {blocks:,} of {chunk:,} bytes"
        )
    stored: list[Any] = []

    def note(info: Any) -> bool | None:
        stored.append(info)
        return True if len(stored) > blocks else None

    item.chunk_iter(note)
    if len(stored) > blocks:
        raise _Refused(f"{name} must have {blocks:,} chunks; got more")
    for info in stored:
        if info.size > chunk + chunk // 100 + 1024:  # gzip adds a few bytes to what it cannot shrink
            raise _Refused(f"{name}: a chunk must take at most {chunk:,} bytes; got {info.size:,}")
        if h5py.h5z.FILTER_DEFLATE in filters and not info.filter_mask >> filters.index(h5py.h5z.FILTER_DEFLATE) & 1:
            _check_inflated(item, info.chunk_offset, chunk, name)


def _check_inflated(item: Any, offset: tuple[int, ...], chunk: int, name: str) -> None:
    """Inflates a chunk as far as it may go: HDF5 itself goes on until memory ends."""
    _, raw = item.read_direct_chunk(offset)
    inflating = zlib.decompressobj()
    try:
        inflated = len(inflating.decompress(raw, chunk + _CHECKSUM + 1))
    except zlib.error as error:
        raise _Refused(f"{name} must be whole; got {error}") from None
    if inflated > chunk + _CHECKSUM or not inflating.eof:
        raise _Refused(f"{name}: a chunk must hold {chunk:,} bytes; got another number")
