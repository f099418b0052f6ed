"""The images of a data set: one row each, kept on disk as one table, with the hash of its content.

A scan opens only files that are new or have changed since the last scan of their folder (`tumorcls.data.reading`).
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from tumorcls.data.cells import from_cell, to_cell
from tumorcls.data.fingerprint import THUMB, Fingerprint
from tumorcls.data.reading import read_rows
from tumorcls.data.slices import Which, slice_name
from tumorcls.data.sources import open_source
from tumorcls.data.sources.base import TABLE, LeftOut, OfficialSplit, Plane, Row, Source, describe
from tumorcls.errors import DataError
from tumorcls.files import replace_text

_NAMED = 3  # unreadable files


@dataclass(frozen=True)
class Entry:
    """One image.

    `source` is the data set's name for people, `kind` that of its layout. `name` is its path below `folder`, with forward
    slashes, or, where a table names an image elsewhere, whatever leads there from its folder. `label` is one of
    `tumorcls.data.labels.LABELS`. Width and height are pixels after the orientation tag is applied; `phash` is as in
    `tumorcls.data.fingerprint.Fingerprint`, and so is `volume`, equal for the slices of one. `slice_number` says
    which slice of the file it is, from 1; it is None of a file that holds one picture.

    `patient` says who is shown, by a table or else by the file itself, and `file_patient` what the file says: words that are
    equal for all images of a patient, whatever source they are in. Two patients of one word are one person: that keeps them on
    one side of a split, and says of neither that it is new.
    """

    source: str
    kind: str
    name: str
    label: str
    official_split: OfficialSplit | None
    patient: str | None
    plane: Plane | None
    width: int
    height: int
    channels: int
    sha256: str
    pixel_sha256: str
    phash: int
    folder: str
    slice_number: int | None = None
    volume: str | None = None
    file_patient: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.folder) / self.name

    @property
    def title(self) -> str:
        """What tells it from all other images of its folder, to people too: its name, with the slice where it is one."""
        return slice_name(self.name, self.slice_number)

    @property
    def data_set(self) -> tuple[str, str]:
        """What tells the images of one set from those of another: a table may name several sources."""
        return self.folder, self.source

    @property
    def given_part(self) -> OfficialSplit | None:
        """The part that a table puts the image in; None leaves that to our split."""
        return self.official_split if self.kind == TABLE else None


@dataclass(frozen=True)
class Unreadable:
    """A file that is no whole image, and why."""

    path: Path
    source: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """All images of a scan, in an order that follows from their content alone, and the files that were left out.

    Images elsewhere, or under other names, so have the same hash, the same groups and the same split. `left_out` counts files
    that are no images by name or lie in no folder that counts; `unreadable` are images that cannot be read. `thumbs` is uint8
    (number of entries, THUMB, THUMB) grey, in the order of `entries`; empty for a manifest read from its table.
    """

    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...] = ()
    thumbs: npt.NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((0, THUMB, THUMB), np.uint8), repr=False, compare=False
    )

    left_out: tuple[LeftOut, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Hash of what the images are, and of nothing else: content, label, patient, official split, and the sets they form."""
        digest = hashlib.sha256()
        sources: dict[tuple[str, str], int] = {}
        for entry in self.entries:
            source = (sources.setdefault(entry.data_set, len(sources)), entry.kind)
            digest.update(repr((*source, *_content(entry), entry.pixel_sha256)).encode())
        return digest.hexdigest()

    @property
    def patients(self) -> str:
        """Whether it is said who is shown: of all images, of some ("named in part"), or of none."""
        named = sum(entry.patient is not None for entry in self.entries)
        return "not named" if not named else "named" if named == len(self.entries) else "named in part"

    def notes(self) -> tuple[str, ...]:
        """Returns what whoever uses the images should know, a line each: files left out, and files that cannot be read."""
        lines = [line] if (line := describe(self.left_out)) else []
        if self.unreadable:
            first = "; ".join(bad.reason.rstrip(".") for bad in self.unreadable[:_NAMED])
            count = f"{len(self.unreadable):,} of {len(self.unreadable) + len(self.entries):,}"
            more = f"; and {len(self.unreadable) - _NAMED:,} more" if len(self.unreadable) > _NAMED else ""
            lines.append(f"cannot be read, and left out: {count} images ({first}{more})")
        return tuple(lines)

    def write(self, path: Path) -> None:
        """Writes the table as CSV (see `read`), to a temporary file that is then moved.

        It is UTF-8, but for names that are not: those keep their own bytes.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = ({**vars(entry), "phash": f"{entry.phash:016x}"}.values() for entry in self.entries)
        replace_csv(path, _COLUMNS, rows)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Reads a table that `write` wrote.

        Raises:
            DataError: The file is missing or is no such table.
        """
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                entries = [_entry_of(row) for row in csv.DictReader(file)]
            return cls(tuple(entries[i] for i in _content_order(entries)))
        except OSError as error:
            raise DataError(f"{path}: a manifest must be readable; got {error.strerror}. Run `tumorcls prepare`.") from error
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}: must be a manifest table; got {error!r}. Run `tumorcls prepare` again.") from error


def replace_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Replaces a file by a table of cells (see `to_cell`), in which None is empty; see `tumorcls.files.replace_text`."""
    text = io.StringIO()
    cells = ([to_cell(value) if isinstance(value, str) else value for value in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows([columns, *cells])
    replace_text(path, text.getvalue())


_COLUMNS = [column.name for column in fields(Entry)]
_SPLITS: dict[str, OfficialSplit | None] = {"": None, **{name: name for name in get_args(OfficialSplit)}}
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("width", "height", "channels"), int),
    "phash": lambda text: int(text, 16),
    "official_split": _SPLITS.__getitem__,
    **dict.fromkeys(("patient", "plane", "volume", "file_patient"), lambda text: text or None),
    "slice_number": lambda text: int(text) if text else None,
}


def _entry_of(row: dict[str, str]) -> Entry:
    return Entry(**{column: _FROM_TEXT.get(column, str)(from_cell(row[column])) for column in _COLUMNS})


def scan(folders: Sequence[str | Path], cache_dir: Path, slices: Which = "middle") -> Manifest:
    """Lists and fingerprints the images of the folders; the order of `folders` does not matter.

    Args:
        folders: Data folders of known layouts, tables, or ``phantoms:N[:SEED]``.
        cache_dir: Where fingerprints are kept between scans.
        slices: Which ones of a volume, where a table names none.

    Raises:
        DataError: A folder has no known layout, one is given twice, or not one image is readable.
    """
    sources = [open_source(folder, cache_dir) for folder in folders]
    places = [source.place for source in sources]
    if len(set(places)) != len(places):
        raise DataError(f"data folders: each must be given once; got {', '.join(map(str, folders))}. Remove the repetition.")
    readable: list[tuple[Entry, Fingerprint]] = []
    bad: list[Unreadable] = []
    left_out: list[LeftOut] = []
    for source in sources:
        rows, passed_over = source.listing()
        left_out += passed_over
        for row, result in read_rows(source, rows, slices, cache_dir):
            if isinstance(result, Fingerprint):
                readable.append((_entry(row, source, result), result))
            else:
                bad.append(Unreadable(row.path, row.source, result))
    if not readable:
        raise DataError(f"data folders: at least one image must be readable; got none of {len(bad)}. First: {bad[0].reason}")
    order = _content_order([entry for entry, _ in readable])
    thumbs = np.stack([readable[i][1].thumb for i in order])
    bad.sort(key=lambda item: (item.source, item.path.as_posix()))
    return Manifest(tuple(readable[i][0] for i in order), tuple(bad), thumbs, tuple(left_out))


def _content(entry: Entry) -> tuple[str, ...]:
    volume = () if entry.volume is None else (f"{entry.slice_number or 0:06d}", entry.volume)
    return entry.sha256, entry.label, entry.kind, entry.official_split or "", entry.patient or "", *volume


def _content_order(entries: Sequence[Entry]) -> list[int]:
    """Returns the order of `Manifest.entries`. Among equal images of several sets, the sets' other images decide."""
    members: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for entry in entries:
        members.setdefault(entry.data_set, []).append(_content(entry))
    digests = {data_set: hashlib.sha256(repr(sorted(rows)).encode()).hexdigest() for data_set, rows in members.items()}
    return sorted(range(len(entries)), key=lambda i: (_content(entries[i]), digests[entries[i].data_set], entries[i].name))


def _entry(row: Row, source: Source, result: Fingerprint) -> Entry:
    label = row.label or result.label
    assert label is not None  # a layout whose rows have no label has files that state it
    same = ("width", "height", "channels", "sha256", "pixel_sha256", "phash", "slice_number", "volume")
    return Entry(
        source=row.source,
        kind=source.layout.name,
        name=source.name_of(row),
        label=label,
        official_split=row.official_split,
        patient=row.patient or result.patient,
        plane=row.plane,
        folder=source.folder.as_posix(),
        file_patient=result.patient,
        **{name: getattr(result, name) for name in same},
    )
