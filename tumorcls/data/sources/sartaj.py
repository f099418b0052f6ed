"""Kaggle ``sartajbhuvaji/brain-tumor-classification-mri``: the original slices, mostly 512x512.

``{Training,Testing}/{glioma_tumor,meningioma_tumor,no_tumor,pituitary_tumor}/``; file names hold blanks and brackets. The
glioma labels are disputed by the author of the Nickparvar set, and most Testing images have a twin in Training.
"""

import re

from tumorcls.data.sources.base import Layout, classes_by_split, mostly_named, split_rows

_MARKS = {"glioma_tumor", "meningioma_tumor", "pituitary_tumor"}
_NAMES = re.compile(r"(gg|m\d?|p|image) ?\(\d+\)\.")

LAYOUT = Layout(
    "sartaj",
    "{Training,Testing}/{glioma,meningioma,no,pituitary}_tumor/",
    lambda folder: classes_by_split(folder) & _MARKS,
    split_rows,
    lambda folder: mostly_named(folder, _NAMES),
    "In SARTAJ class and sequence go together, as judged by eye, not by a radiologist: a model can tell no_tumor by how a scan "
    "was made. Its recall says nothing about a contrast-enhanced T1 slice without a tumour.",
)
