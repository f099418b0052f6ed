"""Which files were already fingerprinted? One file of records a scanned folder, keyed by path, size and times of change.

The records are replaced as a whole, so scans at work at once never see half of them: the later one wins.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorcls.cache.checked import keep_arrays, load_arrays
from tumorcls.data.fingerprint import THUMB, VERSION, Fingerprint


@dataclass(frozen=True)
class Stamp:
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


_FIELDS = np.dtype(
    [
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("ctime_ns", "<i8"),
        ("sha256", "S64"),
        ("pixel_sha256", "S64"),
        ("phash", "<u8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("channels", "<i4"),
    ]
)


_ARRAYS = ("names", "fields", "texts", "thumbs")
_LAYOUT = 2  # of the file; raised when the fields change


def cache_file(folder: Path, cache_dir: Path) -> Path:
    """Returns where the records of a folder are kept."""
    digest = hashlib.sha256(f"{VERSION} {_LAYOUT}\n{folder.resolve()}".encode()).hexdigest()
    return cache_dir / f"scan-{digest[:24]}.npz"


def load(path: Path) -> dict[str, Record]:
    """Returns the records by path relative to the folder; none where there is no file yet or it is damaged."""
    stored = load_arrays(path, _ARRAYS)
    if stored is None:
        return {}
    names, fields, texts, thumbs = (stored[name] for name in _ARRAYS)
    rows = zip(names.tolist(), fields.tolist(), texts.tolist(), thumbs, strict=True)
    return {name: _record(values, text, thumb) for name, values, text, thumb in rows}


def _record(
    values: tuple[int, int, int, bytes, bytes, int, int, int, int], texts: list[str], thumb: npt.NDArray[np.uint8]
) -> Record:
    size, mtime_ns, ctime_ns, sha256, pixel_sha256, phash, width, height, channels = values
    error, label, patient = texts
    stamp = Stamp(size, mtime_ns, ctime_ns)
    if error:
        return Record(stamp, error)
    return Record(
        stamp,
        Fingerprint(
            sha256.decode(), pixel_sha256.decode(), phash, width, height, channels, label or None, patient or None, thumb
        ),
    )


def store(path: Path, records: Mapping[str, Record]) -> None:
    """Replaces the records; a disk that is full is told, and costs another scan the next time."""
    fields = np.zeros(len(records), _FIELDS)
    texts: list[tuple[str, str, str]] = []
    thumbs = np.zeros((len(records), THUMB, THUMB), np.uint8)
    for i, record in enumerate(records.values()):
        found = record.result
        stamp = (record.stamp.size, record.stamp.mtime_ns, record.stamp.ctime_ns)
        if isinstance(found, str):
            fields[i] = (*stamp, b"", b"", 0, 0, 0, 0)
            texts.append((found, "", ""))
            continue
        fields[i] = (
            *(*stamp, found.sha256.encode(), found.pixel_sha256.encode()),
            *(found.phash, found.width, found.height, found.channels),
        )
        texts.append(("", found.label or "", found.patient or ""))
        thumbs[i] = found.thumb
    names, reasons = np.array(list(records), dtype=np.str_), np.array(texts, dtype=np.str_)
    keep_arrays(path, names=names, fields=fields, texts=reasons, thumbs=thumbs)
