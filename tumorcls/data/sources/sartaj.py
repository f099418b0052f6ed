"""Kaggle ``sartajbhuvaji/brain-tumor-classification-mri``: the original slices, mostly 512x512.

``{Training,Testing}/{glioma_tumor,meningioma_tumor,no_tumor,pituitary_tumor}/``; file names hold blanks and brackets. The
glioma labels are disputed by the author of the Nickparvar set, and most Testing images have a twin in Training.
"""

from tumorcls.data.sources.base import Layout, classes_by_split, split_rows

_MARKS = {"glioma_tumor", "meningioma_tumor", "pituitary_tumor"}

LAYOUT = Layout(
    "sartaj",
    "{Training,Testing}/{glioma,meningioma,no,pituitary}_tumor/",
    lambda folder: classes_by_split(folder) & _MARKS,
    split_rows,
)
