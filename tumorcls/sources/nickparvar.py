"""Kaggle ``masoudnickparvar/brain-tumor-mri-dataset``: figshare, SARTAJ and Br35H merged by its author.

``{Training,Testing}/{glioma,meningioma,notumor,pituitary}/``. Its no-tumour class comes from Br35H alone, so class and origin
are confounded, and much of it is SARTAJ again. Other sets split into Training and Testing, with folders of known classes, read
alike.
"""

from collections.abc import Iterator
from pathlib import Path

from tumorcls.sources.base import Layout, Row, class_folder_names, class_rows, split_folders


def _matches(folder: Path) -> bool:
    return any(class_folder_names(child) for child in split_folders(folder))


def _rows(folder: Path, name: str) -> Iterator[Row]:
    for child, split in split_folders(folder).items():
        yield from class_rows(child, name, split)


LAYOUT = Layout("nickparvar", "{Training,Testing}/{glioma,meningioma,notumor,pituitary}/", _matches, _rows)
