"""figshare 1512427 (Cheng, 2017): 3,064 slices of 233 patients as MATLAB v7.3 files, the origin of much of the other sets.

``*.mat``, in the folder itself or in ``brainTumorDataPublic_*/``. Label and patient stand inside each file
(`tumorcls.data.matlab`), so a row names neither. ``cvind.mat``, the published folds, is no slice and is passed over.
"""

from pathlib import Path

from tumorcls.data.image_files import Listing, list_folder
from tumorcls.data.sources.base import Found, Layout, Row, unknown_folder
from tumorcls.errors import DataError, shown

_FOLDS = "cvind.mat"


def _slices(listing: Listing) -> list[Path]:
    files = (path for path in listing.others if path.suffix.lower() == ".mat" and not path.name.startswith("."))
    return [path for path in files if path.name != _FOLDS]


def _matches(folder: Path) -> bool:
    listing = list_folder(folder)
    return bool(_slices(listing)) or any(_slices(list_folder(child)) for child in listing.folders)


def _rows(folder: Path, name: str) -> Found:
    listing = list_folder(folder)
    archives = sorted(folder.glob("brainTumorDataPublic_*.zip"))
    if archives and not listing.folders:
        raise DataError(f"{shown(folder)}: the archives must be unpacked; got {archives[0].name}. Unzip them here.")
    yield from _rows_of(listing, name)
    for child in listing.folders:
        inside = list_folder(child)
        if not _slices(inside):
            raise unknown_folder(child, "brainTumorDataPublic_* and hold .mat files")
        yield from _rows_of(inside, name)
        yield from inside.folders


def _rows_of(listing: Listing, name: str) -> Found:
    slices = _slices(listing)
    yield from (Row(path, None, name) for path in slices)
    known = {_FOLDS, *(path.name for path in slices)}
    yield from (path for path in listing.files if path.name not in known)


LAYOUT = Layout("figshare", "*.mat or brainTumorDataPublic_*/*.mat", _matches, _rows)
