"""Records of the files that were fingerprinted: one file for each scanned folder or table, by path, size and times of change.

The records are replaced as a whole, so scans at work at once never see half of them: the later one wins.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tumorcls.cache.checked import keep_arrays, load_arrays
from tumorcls.data.fingerprint import THUMB, VERSION, Fingerprint


class Stamp(NamedTuple):
    """What tells that a file has not changed.

    Attributes:
        size: In bytes.
        mtime_ns: When its content was last changed, in nanoseconds; anybody can set it.
        ctime_ns: When it, its name or its times were last changed; nobody can set it.
    """

    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Record:
    """The outcome of reading one file: its fingerprint, or why it has none."""

    stamp: Stamp
    result: Fingerprint | str


_LAYOUT = 4  # of the file; raised when it changes
_VALUES = [field.name for field in fields(Fingerprint) if field.name != "thumb"]


def cache_file(place: Path, cache_dir: Path) -> Path:
    """Returns where the records of a folder or a table, by its resolved path, are kept."""
    digest = hashlib.sha256(f"{VERSION} {_LAYOUT}\n".encode() + os.fsencode(place)).hexdigest()
    return cache_dir / f"scan-{digest[:24]}.npz"


def key_of(name: str, number: int | None) -> str:
    """Returns what a record is kept by: a file's path relative to the folder, and the slice that was asked for, if any."""
    return name if number is None else f"{name}\0{number}"  # no name has a null character


def name_of(key: str) -> str:
    """Returns the path that a record is kept by."""
    return key.partition("\0")[0]


def load(path: Path) -> dict[str, Record]:
    """Returns the records by their keys (see `key_of`); none where there is no file yet or it is damaged."""
    stored = load_arrays(path, ("records", "thumbs"))
    if stored is None:
        return {}
    thumbs = iter(stored["thumbs"])
    return {
        name: Record(Stamp(*stamp), result if isinstance(result, str) else Fingerprint(**result, thumb=next(thumbs)))
        for name, stamp, result in json.loads(stored["records"].tobytes())
    }


def store(path: Path, records: Mapping[str, Record]) -> None:
    """Replaces the records; a disk that is full is told, and costs another scan the next time."""
    rows: list[tuple[str, Stamp, object]] = []
    thumbs = [np.zeros((0, THUMB, THUMB), np.uint8)]
    for name, record in records.items():
        result: object = record.result
        if isinstance(result, Fingerprint):
            thumbs.append(result.thumb[None])
            result = {value: getattr(result, value) for value in _VALUES}
        rows.append((name, record.stamp, result))
    keep_arrays(path, records=np.frombuffer(json.dumps(rows).encode(), np.uint8), thumbs=np.concatenate(thumbs))
