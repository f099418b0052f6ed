"""What a data set's layout must tell: which files it has, and the label, split and patient of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tumorcls.errors import DataError
from tumorcls.image_files import IMAGE_SUFFIXES
from tumorcls.labels import CLASSES, class_of_folder

OfficialSplit = Literal["train", "test"]

UNTYPED_TUMOR = "tumor"
"""Label of an image that shows a tumour of unknown type (Br35H's ``yes/``): no class of ours, used only by binary studies."""

_SPLIT_FOLDERS: dict[str, OfficialSplit] = {"training": "train", "train": "train", "testing": "test", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One file of a data set.

    `label` is one of `tumorcls.labels.CLASSES`, `UNTYPED_TUMOR`, or None where only the file itself states it. `official_split`
    is None where the data set publishes no split, `patient` where it names none or only the file itself does.
    """

    path: Path
    label: str | None
    source: str
    official_split: OfficialSplit | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    `matches(folder)` looks at folder names only; `rows(folder, name)` lists the files. `description` completes the sentence "a
    data set lies as ...".
    """

    name: str
    description: str
    matches: Callable[[Path], bool]
    rows: Callable[[Path, str], Iterator[Row]]


@dataclass(frozen=True)
class Source:
    """A folder together with the layout it was found to have. `name` is the data set's."""

    name: str
    folder: Path
    layout: Layout

    def rows(self) -> list[Row]:
        """Returns the data set's files, sorted by their path below the folder.

        Raises:
            DataError: A folder of a class is empty or is no known class.
        """
        rows = sorted(self.layout.rows(self.folder, self.name), key=lambda row: row.path.as_posix())
        if not rows:
            raise DataError(f"{self.folder}: a data set must have at least one image; got none. Check the download.")
        return rows


def subfolders(folder: Path) -> list[Path]:
    """Returns the visible folders inside `folder`, sorted by name."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith((".", "__")))


def split_folders(folder: Path) -> dict[Path, OfficialSplit]:
    """Returns the folders named Training, Testing or alike, with the official split each stands for."""
    found = ((child, _SPLIT_FOLDERS.get(child.name.lower())) for child in subfolders(folder))
    return {child: split for child, split in found if split is not None}


def class_folder_names(folder: Path) -> set[str]:
    """Returns the lower-case names of the subfolders that stand for a class."""
    return {child.name.lower() for child in subfolders(folder) if class_of_folder(child.name)}


def class_rows(folder: Path, source: str, split: OfficialSplit | None = None) -> Iterator[Row]:
    """Lists the images of ``folder/CLASS/*``, each labelled by its folder's name.

    Raises:
        DataError: A folder is no known class, or holds no image.
    """
    for child in subfolders(folder):
        label = class_of_folder(child.name)
        if label is None:
            raise DataError(
                f"{child}: a folder must be named after one of {', '.join(CLASSES)}; got {child.name!r}. Move it away."
            )
        yield from image_rows(child, label, source, split)


def image_rows(folder: Path, label: str, source: str, split: OfficialSplit | None = None) -> Iterator[Row]:
    """Lists the images directly inside `folder`; other files are passed over.

    Raises:
        DataError: There is none.
    """
    paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    if not paths:
        raise DataError(f"{folder}: a class folder must hold images; got none. Check the download, or remove the folder.")
    for path in paths:
        yield Row(path, label, source, split)
