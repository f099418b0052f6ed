"""figshare 1512427 (Cheng, 2017): 3,064 slices of 233 patients as MATLAB v7.3 files, the origin of much of the other sets.

``*.mat``, in the folder itself or in ``brainTumorDataPublic_*/``. Label and patient stand inside each file (`tumorcls.matlab`),
so a row names neither. ``cvind.mat``, the published folds, is no slice and is passed over.
"""

from collections.abc import Iterator
from pathlib import Path

from tumorcls.errors import DataError
from tumorcls.sources.base import Layout, Row, subfolders

_NO_SLICES = {"cvind.mat"}


def _slices(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*.mat") if path.name not in _NO_SLICES and not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return [folder, *subfolders(folder)]


def _matches(folder: Path) -> bool:
    return any(any(_slices(child)) for child in _folders(folder))


def _rows(folder: Path, name: str) -> Iterator[Row]:
    archives = sorted(folder.glob("brainTumorDataPublic_*.zip"))
    if archives and not subfolders(folder):
        raise DataError(f"{folder}: the archives must be unpacked; got {archives[0].name}. Unzip them here.")
    for child in _folders(folder):
        for path in _slices(child):
            yield Row(path, None, name)


LAYOUT = Layout("figshare", "*.mat or brainTumorDataPublic_*/*.mat", _matches, _rows)
