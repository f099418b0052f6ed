"""Kaggle ``masoudnickparvar/brain-tumor-mri-dataset``: figshare, SARTAJ and Br35H merged by its author.

``{Training,Testing}/{glioma,meningioma,notumor,pituitary}/``. Its no-tumour class comes from Br35H alone, so class and origin
are confounded, and much of it is SARTAJ again. Other sets split into Training and Testing, with folders of known classes, read
alike.
"""

from pathlib import Path

from tumorcls.data.sources.base import Layout, classes_by_split, split_rows


def _matches(folder: Path) -> bool:
    return bool(classes_by_split(folder))


LAYOUT = Layout("nickparvar", "{Training,Testing}/{glioma,meningioma,notumor,pituitary}/", _matches, split_rows)
