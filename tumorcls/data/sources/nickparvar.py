"""Kaggle ``masoudnickparvar/brain-tumor-mri-dataset``: figshare, SARTAJ and Br35H merged by its author.

``{Training,Testing}/{glioma,meningioma,notumor,pituitary}/``. Its no-tumour class comes from Br35H alone, so class and origin
are confounded, and much of it is SARTAJ again. Other sets split into Training and Testing, with folders of known classes, read
alike, and are named after their folder: this one's files are called ``Tr-gl_0010.jpg``.
"""

import re

from tumorcls.data.sources.base import Layout, classes_by_split, mostly_named, split_rows

_NAMES = re.compile(r"T[re]-(aug-)?(gl|me|no|pi)")

LAYOUT = Layout(
    "nickparvar",
    "{Training,Testing}/{glioma,meningioma,notumor,pituitary}/",
    classes_by_split,
    split_rows,
    lambda folder: mostly_named(folder, _NAMES),
    "In Nickparvar's set no_tumor is of another origin than the tumours (Br35H alone): a model can tell it by that.",
)
