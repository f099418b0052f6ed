"""What a data set's layout must tell: which files it has, the label, split and patient of each, and what it passes over."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from tumorcls.data.image_files import dicom_files, list_folder, walk
from tumorcls.data.labels import LABELS, OTHER_LABELS, label_of
from tumorcls.errors import DataError, shown

OfficialSplit = Literal["train", "validation", "test", "left_out"]
"""Where a data set puts an image. Folders say train or test; a table (`TABLE`) may say each, and what it says is done."""

Plane = Literal["axial", "coronal", "sagittal"]

TABLE = "table"
"""Name of the layout of a table of images."""

# Validation folders are for training: which images validate is for our own split to say.
_SPLIT_FOLDERS: dict[str, OfficialSplit] = {
    **dict.fromkeys(("training", "train", "validation", "valid", "val"), "train"),
    **dict.fromkeys(("testing", "test"), "test"),
}

_MOST_COUNTED = 10_000  # files of one folder that is passed over


@dataclass(frozen=True)
class Row:
    """One file of a data set.

    `label` is one of `tumorcls.data.labels.LABELS`, or None where only the file itself states it.
    `official_split` is None where the data set gives no split, `patient` where it names none or only the file itself does,
    `plane` where it does not say how the slice lies, `slice_number` (from 1) where it names none. What is `of_volume`
    is a slice that nobody has named, of a file or of a folder that stands for a volume.
    """

    path: Path
    label: str | None
    source: str
    official_split: OfficialSplit | None = None
    patient: str | None = None
    plane: Plane | None = None
    slice_number: int | None = None
    of_volume: bool = False


@dataclass(frozen=True)
class LeftOut:
    """How many files with this ending were passed over in a folder of a data set; "" stands for no ending."""

    source: str
    folder: str
    suffix: str
    count: int


Found = Iterator[Row | Path]
"""Files of a data set, and paths that it passes over: files that are no images of it, and folders that hold none."""


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    `matches(folder)` is true of a folder that lies so, by the names in it; `rows(folder, name)` lists the files, with what it
    passes over among them. `description` completes the sentence "a data set lies as ...". `known(folder)` is true where a
    folder that lies so holds the data set itself, by the names of its files: a hospital's own may lie alike. `caveat` is what a
    reader of results on the data set must know of it, in sentences; empty where that is nothing.
    """

    name: str
    description: str
    matches: Callable[[Path], object]
    rows: Callable[[Path, str], Found]
    known: Callable[[Path], object] = lambda _: True
    caveat: str = ""


@dataclass(frozen=True)
class Source:
    """A folder together with the layout it was found to have.

    `name` is the data set's where it is a known one, and the folder's elsewhere. A `table` lies in the folder, and its images
    lie anywhere.
    """

    name: str
    folder: Path
    layout: Layout
    table: Path | None = None

    @property
    def place(self) -> Path:
        """What the data set is known by on this machine."""
        return (self.table or self.folder).resolve()

    def name_of(self, row: Row) -> str:
        """Returns a file's path below the folder, with forward slashes; of a table, as the row gives it."""
        lies_below = row.path.is_relative_to(self.folder)
        return (row.path.relative_to(self.folder) if lies_below else row.path).as_posix()

    def rows(self) -> list[Row]:
        """Returns the data set's files, as `listing` does."""
        return self.listing()[0]

    def listing(self) -> tuple[list[Row], tuple[LeftOut, ...]]:
        """Returns the data set's files, sorted by their path below the folder, and counts what was passed over.

        Raises:
            DataError: A folder cannot be read, a folder of a class is empty, or a folder is none that the layout knows.
        """
        found = list(self.layout.rows(self.folder, self.name))
        rows = [entry for entry in found if isinstance(entry, Row)]
        if not rows:
            raise DataError(
                f"{shown(self.table or self.folder)}: a data set must have at least one image; got none. Check the download."
            )
        passed_over = (file for entry in found if isinstance(entry, Path) for file in _files(entry))
        counts = Counter((shown(file.parent.relative_to(self.folder)), shown(file.suffix.lower())) for file in passed_over)
        left_out = (LeftOut(self.name, folder, suffix, count) for (folder, suffix), count in sorted(counts.items()))
        return sorted(rows, key=lambda row: (row.path.as_posix(), row.slice_number or 0)), tuple(left_out)


def _files(path: Path) -> Iterator[Path]:
    """Yields a file, or the visible files in and below a folder; a hidden folder counts as one file."""
    if path.name.startswith((".", "__")) or not path.is_dir():
        yield path
    else:
        yield from islice((file for listing in walk(path) for file in listing.files), _MOST_COUNTED)


def describe(left_out: Iterable[LeftOut], *, places: int = 5) -> str:
    """Returns one line, the most frequent first; "" where nothing was left out."""
    ordered = sorted(left_out, key=lambda one: -one.count)
    if not ordered:
        return ""
    total = sum(one.count for one in ordered)
    parts = [f"{one.count:,} {one.suffix or 'without an ending'} in {one.source}/{one.folder}" for one in ordered[:places]]
    more = sum(one.count for one in ordered[places:])
    parts += [f"{more:,} elsewhere"] if more else []
    return f"left out, no image of a known folder: {total:,} file{'s' * (total != 1)} ({', '.join(parts)})"


def split_of_folder(name: str) -> OfficialSplit | None:
    """Returns the official split that a folder named Training, Testing or alike stands for."""
    return _SPLIT_FOLDERS.get(name.lower())


def mostly_named(folder: Path, names: re.Pattern[str]) -> bool:
    """Returns whether most image files one or two folders below this one have names that begin so."""
    listings = [list_folder(child) for child in list_folder(folder).folders]
    listings += [list_folder(child) for listing in listings for child in listing.folders]
    matches = [names.match(image.name) is not None for listing in listings for image in listing.images]
    return 2 * sum(matches) > len(matches)


def class_folder_names(folder: Path) -> set[str]:
    """Returns the lower-case names of the subfolders that stand for a class."""
    return {child.name.lower() for child in list_folder(folder).folders if label_of(child.name)}


def classes_by_split(folder: Path) -> set[str]:
    """Returns the lower-case names of class folders inside folders named Training, Testing or alike."""
    children = [child for child in list_folder(folder).folders if split_of_folder(child.name)]
    return {name for child in children for name in class_folder_names(child)}


def split_rows(folder: Path, source: str) -> Found:
    """Lists the images of ``folder/SPLIT/CLASS/*``.

    Raises:
        DataError: A folder stands for no split or for no class, or a class holds no image.
    """
    listing = list_folder(folder)
    for child in listing.folders:
        split = split_of_folder(child.name)
        if split is None:
            raise unknown_folder(child, "Training, Validation or Testing")
        yield from class_rows(child, source, split)
    yield from listing.files


def class_rows(folder: Path, source: str, split: OfficialSplit | None = None) -> Found:
    """Lists the images of ``folder/CLASS/*``, each labelled by its folder's name.

    Raises:
        DataError: A folder is no known class, or holds no image.
    """
    listing = list_folder(folder)
    for child in listing.folders:
        label = label_of(child.name)
        if label is None:
            raise unknown_folder(child, f"one of {LABELS}", f" {OTHER_LABELS}")
        yield from image_rows(child, label, source, split)
    yield from listing.files


def unknown_folder(folder: Path, names: str, more: str = "") -> DataError:
    """Returns the error for a folder that a layout does not know: whether it is data is for its owner to say."""
    return DataError(f"{shown(folder)}: a folder must be named after {names}; got {shown(folder.name)!r}. Move it away.{more}")


def image_rows(folder: Path, label: str, source: str, split: OfficialSplit | None = None) -> Found:
    """Lists the images directly inside `folder`, and the DICOM files of folders in it; other files and folders are passed over.

    Raises:
        DataError: There is none.
    """
    listing = list_folder(folder)
    inner = [entry for child in listing.folders for entry in series_rows(child, Row(child, label, source, split))]
    if not listing.images and not any(isinstance(entry, Row) for entry in inner):
        inside = f"folders ({shown(listing.folders[0].name)}): move their images up" if listing.folders else "none"
        raise DataError(f"{shown(folder)}: a class folder must hold images; got {inside}. Check the download, or remove it.")
    yield from (Row(path, label, source, split) for path in listing.images)
    yield from inner
    yield from listing.others


def series_rows(folder: Path, row: Row) -> Found:
    """Lists the DICOM files in and below a folder that stands for volumes, each as `row` but for its path."""
    slices = dicom_files(folder)
    if not slices:
        yield folder
        return
    yield from (replace(row, path=path, of_volume=True) for path in slices)
    yield from sorted({path for listing in walk(folder) for path in listing.files}.difference(slices))
