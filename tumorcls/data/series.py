"""Which DICOM files of a folder are slices of one volume, and in which order they lie."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tumorcls.data import dicom
from tumorcls.data.image_files import is_dicom_file, read_file
from tumorcls.data.slices import SlicePlace, order
from tumorcls.errors import DataError, shown


@dataclass(frozen=True)
class Series:
    """Files of one folder that are slices of one volume.

    Attributes:
        name: What it is called to people, after its folder: what a header calls it is not shown. Of several in a folder, each
            has a number, by its first file.
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
    folders: dict[Path, dict[str, list[tuple[tuple[float, str], Path]]]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        place = _place(path)
        if place is not None and place.volume is not None and place.count == 1:
            folders[path.parent][place.volume].append((order(place, path), path))
    series: dict[Path, Series] = {}
    for folder, volumes in folders.items():
        found = [tuple(path for _, path in sorted(slices)) for slices in volumes.values() if len(slices) > 1]
        for number, slices in enumerate(sorted(found, key=min), start=1):
            which = f", series {number} of {len(found)}" if len(found) > 1 else ""
            series |= dict.fromkeys(slices, Series(f"{shown(folder)}{which}", slices))
    for path in files:
        if path not in series:
            yield path
        elif path == min(series[path].files):
            yield series[path]


def _place(path: Path) -> SlicePlace | None:
    """Returns where a file's slice lies; None where it is not DICOM's, or cannot be read, which shows when it is."""
    if not is_dicom_file(path):
        return None
    try:
        return dicom.read_place(read_file(path), shown(path))
    except (DataError, OSError):
        return None
