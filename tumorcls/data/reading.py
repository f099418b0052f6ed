"""Reads the images of a data set: only those files that are new or have changed, and of volumes the slices that are used."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tumorcls import activity
from tumorcls.data import scan_cache
from tumorcls.data.fingerprint import Fingerprint, fingerprint
from tumorcls.data.scan_cache import Record, Stamp
from tumorcls.data.slices import Which, middle, order
from tumorcls.data.sources.base import Row, Source
from tumorcls.errors import DataError, NoReaderError, reason, shown

ReadRow = tuple[Row, Fingerprint | str]
"""A row, and what was read or why nothing was."""


def read_rows(source: Source, rows: Sequence[Row], slices: Which, cache_dir: Path) -> list[ReadRow]:
    """Reads the files of a source.

    Args:
        source: The data set.
        rows: Its files; a volume is one row, unless it names a slice.
        slices: Which ones of such a volume. Of ``all``, those that show nothing are left out: they are alike in all volumes.
        cache_dir: Where fingerprints are kept between scans.

    Returns:
        A row for each slice that is used, and for each file that cannot be read.
    """
    read = _read(source, rows, cache_dir)
    if slices == "middle":
        return _middle_of_series(read)
    every = [slice_row for row, result in read for slice_row in _all_slices(row, result)]
    if len(every) > len(read):
        read = _read(source, every, cache_dir)
    return [(row, result) for row, result in read if not (row.of_volume and isinstance(result, Fingerprint) and result.blank)]


def _all_slices(row: Row, result: Fingerprint | str) -> Iterator[Row]:
    if row.slice_number is None and isinstance(result, Fingerprint) and result.count > 1:
        for number in range(1, result.count + 1):
            yield replace(row, slice_number=number, of_volume=True)
    else:
        yield row


def _middle_of_series(read: Sequence[ReadRow]) -> list[ReadRow]:
    """Keeps of each series, the files in one folder that are of one volume, the slice in its middle."""
    series: dict[tuple[Path, str | None], list[tuple[tuple[float, str], int]]] = defaultdict(list)
    for i, (row, result) in enumerate(read):
        if row.of_volume and isinstance(result, Fingerprint):
            series[row.path.parent, result.volume].append((order(result, row.path), i))
    dropped: set[int] = set()
    for members in series.values():
        in_order = [i for _, i in sorted(members)]
        dropped.update(in_order)
        dropped.remove(in_order[middle(len(in_order)) - 1])
    return [one for i, one in enumerate(read) if i not in dropped]


def _read(source: Source, rows: Sequence[Row], cache_dir: Path) -> list[ReadRow]:
    names = [scan_cache.key_of(source.name_of(row), row.slice_number) for row in rows]
    files = {scan_cache.name_of(name) for name in names}
    stamps = [_stamp(row.path) for row in rows]
    store = scan_cache.cache_file(source.place, cache_dir)
    known = scan_cache.load(store)
    stale = [i for i, name in enumerate(names) if name not in known or known[name].stamp != stamps[i]]
    fresh: dict[str, Record] = {}
    try:
        for i, result in zip(stale, _fingerprint_all([(rows[i], known.get(names[i])) for i in stale]), strict=True):
            fresh[names[i]] = Record(stamps[i], result)
    finally:  # ^C keeps what was read
        others = {name: record for name, record in known.items() if scan_cache.name_of(name) in files}  # slices, another time's
        records = {**others, **fresh}
        lasting = {name: record for name, record in records.items() if not isinstance(record.result, _Passing)}
        if len(lasting) != len(known) or fresh.keys() & lasting.keys():
            scan_cache.store(store, lasting)
    return [(row, records[name].result) for row, name in zip(rows, names, strict=True)]


class _Passing(str):
    """Why a file cannot be read now; what says nothing of its content (rights, no reader, no memory) is tried each time."""


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:  # a dangling link or a file removed meanwhile: reported as unreadable by `_fingerprint_or_reason`
        return Stamp(-1, -1, -1)
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _fingerprint_all(files: Sequence[tuple[Row, Record | None]]) -> Iterator[Fingerprint | str]:
    # Threads: decoding, resizing and hashing all release the interpreter's lock.
    with activity.counting("reading images", len(files)), ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for result in pool.map(_fingerprint_or_reason, files):
            yield result
            activity.advance()


def _fingerprint_or_reason(file: tuple[Row, Record | None]) -> Fingerprint | str:
    row, known = file
    before = known.result if known and isinstance(known.result, Fingerprint) else None
    try:
        return fingerprint(row.path, before, row.slice_number)
    except DataError as error:
        passing = isinstance(error, NoReaderError) or isinstance(error.__context__, MemoryError)
        return _Passing(error) if passing else str(error)
    except OSError as error:
        return _Passing(f"{shown(row.path)}: the file must be readable; got {reason(error)}.")
