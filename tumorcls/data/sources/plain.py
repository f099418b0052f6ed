"""A folder of class folders, ``CLASS/*.png``: any set of your own. Its name is the folder's."""

from pathlib import Path

from tumorcls.data.sources.base import Found, Layout, class_folder_names, class_rows


def _matches(folder: Path) -> bool:
    return bool(class_folder_names(folder))


def _rows(folder: Path, name: str) -> Found:
    return class_rows(folder, name)


LAYOUT = Layout("plain", "{glioma,meningioma,no_tumor,pituitary}/", _matches, _rows)
