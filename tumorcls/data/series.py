"""Which DICOM files of a folder are slices of one volume, and in which order they lie."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tumorcls.data import dicom
from tumorcls.data.image_files import is_dicom_file, read_file, shown
from tumorcls.data.slices import SlicePlace, order
from tumorcls.errors import DataError


@dataclass(frozen=True)
class Series:
    """Files of one folder that are slices of one volume.

    Attributes:
        name: What it is called to people, after its folder: what a header calls it is not shown.
        files: In the order of the slices, at least two.
    """

    name: str
    files: tuple[Path, ...]


def gather(files: Iterable[Path]) -> Iterator[Path | Series]:
    """Puts together the files of a folder that name the same DICOM series; one that names none, or alone does, stays as it is.

    Args:
        files: Image files of any kind.

    Yields:
        Files and series, a series in the place of the first of its files.
    """
    files = list(files)
    members: dict[tuple[Path, str], list[tuple[tuple[float, str], Path]]] = defaultdict(list)
    for path in files:
        place = _place(path)
        if place is not None and place.volume is not None and place.count == 1:
            members[path.parent, place.volume].append((order(place, path), path))
    volumes = {key: tuple(path for _, path in sorted(found)) for key, found in members.items() if len(found) > 1}
    series = dict(_named(volumes))
    for path in files:
        if path not in series:
            yield path
        elif path == min(series[path].files):
            yield series[path]


def _named(volumes: Mapping[tuple[Path, str], tuple[Path, ...]]) -> Iterator[tuple[Path, Series]]:
    """Yields each file with its series. Of several in a folder, each has a number, by its first file."""
    folders: dict[Path, list[tuple[Path, ...]]] = defaultdict(list)
    for (folder, _), files in volumes.items():
        folders[folder].append(files)
    for folder, found in folders.items():
        for number, files in enumerate(sorted(found, key=min), start=1):
            which = f", series {number} of {len(found)}" if len(found) > 1 else ""
            series = Series(f"{shown(folder)}{which}", files)
            yield from ((path, series) for path in files)


def _place(path: Path) -> SlicePlace | None:
    """Returns where a file's slice lies; None where it is not DICOM's, or cannot be read, which shows when it is."""
    if not is_dicom_file(path):
        return None
    try:
        return dicom.read_place(read_file(path), shown(path))
    except (DataError, OSError):
        return None
