"""Kaggle ``ahmedhamada0/brain-tumor-detection`` (Br35H): tumour or no tumour, without the type.

``{yes,no}/``. ``no`` gives no-tumour images. ``yes`` shows tumours of unknown type: they are listed, so that their copies in
other sets are found, but serve as training data only where a study asks for binary labels. ``pred/`` has no labels and is
passed over.
"""

from collections.abc import Iterator
from pathlib import Path

from tumorcls.sources.base import UNTYPED_TUMOR, Layout, Row, image_rows, subfolders

_LABELS = {"no": "no_tumor", "yes": UNTYPED_TUMOR}


def _matches(folder: Path) -> bool:
    return {child.name.lower() for child in subfolders(folder)} >= {"yes", "no"}


def _rows(folder: Path, name: str) -> Iterator[Row]:
    for child in subfolders(folder):
        label = _LABELS.get(child.name.lower())
        if label is not None:
            yield from image_rows(child, label, name)


LAYOUT = Layout("br35h", "{yes,no}/", _matches, _rows)
