"""Kaggle ``masoudnickparvar/brain-tumor-mri-dataset``: figshare, SARTAJ and Br35H merged by its author.

``{Training,Testing}/{glioma,meningioma,notumor,pituitary}/``. Its no-tumour class comes from Br35H alone, so class and origin
are confounded, and much of it is SARTAJ again. Other sets split into Training and Testing, with folders of known classes, read
alike.
"""

from tumorcls.data.sources.base import Layout, classes_by_split, split_rows

LAYOUT = Layout("nickparvar", "{Training,Testing}/{glioma,meningioma,notumor,pituitary}/", classes_by_split, split_rows)
