"""A folder of class folders, ``CLASS/*.png``: any set of your own. Its name is the folder's."""

from collections.abc import Iterator
from pathlib import Path

from tumorcls.sources.base import Layout, Row, class_folder_names, class_rows


def _matches(folder: Path) -> bool:
    return bool(class_folder_names(folder))


def _rows(folder: Path, name: str) -> Iterator[Row]:
    yield from class_rows(folder, name)


LAYOUT = Layout("plain", "{glioma,meningioma,no_tumor,pituitary}/", _matches, _rows)
