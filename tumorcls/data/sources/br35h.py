"""Kaggle ``ahmedhamada0/brain-tumor-detection`` (Br35H): tumour or no tumour, without the type.

``{yes,no}/``. ``no`` gives no-tumour images. ``yes`` shows tumours of unknown type: they are listed, so that their copies in
other sets are found, but serve as training data only where a study asks for binary labels. ``pred/`` has no labels, and other
folders of the download repeat its images: they are passed over.
"""

import re
from pathlib import Path

from tumorcls.data.image_files import list_folder
from tumorcls.data.labels import UNTYPED_TUMOR
from tumorcls.data.sources.base import Found, Layout, image_rows, mostly_named, unknown_folder

_LABELS = {"no": "no_tumor", "yes": UNTYPED_TUMOR}
_NAMES = re.compile(r"(y|no) ?\d", re.IGNORECASE)
_REPEATED = frozenset({"pred", "br35h-mask-rcnn", "brain_tumor_dataset"})


def _matches(folder: Path) -> bool:
    return {child.name.lower() for child in list_folder(folder).folders} >= {"yes", "no"}


def _rows(folder: Path, name: str) -> Found:
    listing = list_folder(folder)
    for child in listing.folders:
        label = _LABELS.get(child.name.lower())
        if label is not None:
            yield from image_rows(child, label, name)
        elif child.name.lower() in _REPEATED:
            yield child
        else:
            raise unknown_folder(child, "yes, no or pred")
    yield from listing.files


LAYOUT = Layout("br35h", "{yes,no}/", _matches, _rows, lambda folder: mostly_named(folder, _NAMES))
