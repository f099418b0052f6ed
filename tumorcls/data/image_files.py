"""Which files of a folder are images, and how one is opened: one rule for all commands."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tumorcls.data import dicom, nifti
from tumorcls.errors import DataError, reason, shown
from tumorcls.files import read_start

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff"}
    | {".webp", ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm"}
    | {*dicom.SUFFIXES, *nifti.SUFFIXES}
)
"""Lower-case endings of image files. A file without an ending is an image if it begins like one."""

MAX_FILE_BYTES = 72 * 2**20
"""Of an image file: the largest image that is read has 64 MiB, 4096x4096 with four channels of 8 bits, uncompressed."""

# What systems and programs leave in folders: no data of anybody's, so nobody needs to be told that it was passed over.
_JUNK = frozenset(
    {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "__pycache__", ".ipynb_checkpoints"}
    | {"$recycle.bin", "system volume information", "lost+found", "@eadir", ".git", ".dvc", ".trash"}
)

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF87a", b"GIF89a", b"BM")


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder, each sorted by name.

    Attributes:
        images: Image files by name. What they hold shows when they are read; even a pipe may be among them.
        folders: Visible folders.
        others: Files that are no images, and hidden files and folders; what systems leave behind is not among them.
    """

    images: tuple[Path, ...]
    folders: tuple[Path, ...]
    others: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Images and others."""
        return self.images + self.others


def list_folder(folder: Path) -> Listing:
    """Lists a folder; of files without an ending the first bytes are read.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        entries = sorted((entry for entry in os.scandir(folder) if not is_junk(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{shown(folder)}: the folder must be readable; got {reason(error)}. Check it.") from error
    images: list[Path] = []
    visible: list[Path] = []
    others: list[Path] = []
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith((".", "__")):
            others.append(path)
        elif os.path.isdir(path):  # through links; one that leads to itself is no folder
            visible.append(path)
        else:
            (images if is_image(path) else others).append(path)
    return Listing(tuple(images), tuple(visible), tuple(others))


def is_junk(name: str) -> bool:
    """Returns whether a file or folder of this name is what a system or a program leaves behind (`._x.png`, `Thumbs.db`)."""
    return name.startswith("._") or name.lower() in _JUNK


def is_image(path: Path) -> bool:
    """Returns whether a file is an image, by its ending, or where it has none by its first bytes."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith(nifti.SUFFIXES):
        return True
    if suffix.removeprefix(".") and not suffix[1:].isdigit():
        return suffix in IMAGE_SUFFIXES
    try:
        start = read_start(path, dicom.BEGINNING)
    except OSError:
        return False
    return (
        dicom.is_dicom(start)
        or start.startswith(_BEGINNINGS)
        or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")
        or _is_portable_map(start)
    )


def is_dicom_file(path: Path) -> bool:
    """Returns whether a file is DICOM's, by its ending, or where that says nothing by its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path.suffix.lower() in dicom.SUFFIXES
    try:
        return dicom.is_dicom(read_start(path, dicom.BEGINNING))
    except OSError:
        return False


def dicom_files(folder: Path) -> list[Path]:
    """Returns the DICOM files in and below a folder, sorted.

    Raises:
        DataError: A folder cannot be read.
    """
    return sorted(path for listing in walk(folder) for path in listing.images if is_dicom_file(path))


def _is_portable_map(start: bytes) -> bool:
    return start[:1] == b"P" and start[1:2] in b"123456f" and start[2:3].isspace()


def walk(folder: Path) -> Iterator[Listing]:
    """Lists a folder and all visible folders below it, through links too, but none twice.

    Raises:
        DataError: A folder cannot be read.
    """
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        place = os.path.realpath(current)
        if place in seen:
            continue
        seen.add(place)
        listing = list_folder(current)
        yield listing
        waiting += reversed(listing.folders)


def read_file(path: Path) -> bytes:
    """Returns what an image file holds. A pipe or a device is never waited for.

    Raises:
        DataError: It is larger than `MAX_FILE_BYTES`.
        OSError: It cannot be read, is no regular file, or changes while it is read.
    """
    content = read_start(path, MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{shown(path)}: an image file must have at most {MAX_FILE_BYTES:,} bytes; got more. Scale it down.")
    return content
