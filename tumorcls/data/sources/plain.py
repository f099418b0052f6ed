"""A folder of class folders, ``CLASS/*.png``: any set of your own. Its name is the folder's."""

from tumorcls.data.sources.base import Layout, class_folder_names, class_rows

LAYOUT = Layout("plain", "{glioma,meningioma,no_tumor,pituitary}/", class_folder_names, class_rows, known=lambda _: False)
