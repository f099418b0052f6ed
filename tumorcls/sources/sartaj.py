"""Kaggle ``sartajbhuvaji/brain-tumor-classification-mri``: the original slices, mostly 512x512.

``{Training,Testing}/{glioma_tumor,meningioma_tumor,no_tumor,pituitary_tumor}/``; file names hold blanks and brackets. The
glioma labels are disputed by the author of the Nickparvar set, and most Testing images have a twin in Training.
"""

from collections.abc import Iterator
from pathlib import Path

from tumorcls.sources.base import Layout, Row, class_folder_names, class_rows, split_folders

_MARKS = {"glioma_tumor", "meningioma_tumor", "pituitary_tumor"}


def _matches(folder: Path) -> bool:
    return any(class_folder_names(child) & _MARKS for child in split_folders(folder))


def _rows(folder: Path, name: str) -> Iterator[Row]:
    for child, split in split_folders(folder).items():
        yield from class_rows(child, name, split)


LAYOUT = Layout("sartaj", "{Training,Testing}/{glioma,meningioma,no,pituitary}_tumor/", _matches, _rows)
