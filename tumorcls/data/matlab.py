"""What one ``.mat`` file of figshare 1512427 holds: a slice, its label and its patient.

The files are MATLAB v7.3, that is HDF5 with a struct ``cjdata``. MATLAB stores arrays column by column, so h5py shows an image
transposed; text is an array of uint16 character codes.

Data set: Cheng, Jun (2017). "Brain tumor dataset". figshare. https://doi.org/10.6084/m9.figshare.1512427
"""

from typing import BinaryIO

import h5py
import numpy as np

from tumorcls.data.hdf5 import SLICE, UNREADABLE, open_hdf5
from tumorcls.data.slices import Decoded, grey_to_rgb
from tumorcls.data.windowing import to_uint8
from tumorcls.errors import DataError

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
"""The numbers in ``cjdata/label``, from the data set's README."""

_MAX_PATIENT = 64


def read_mat(file: BinaryIO, where: str, max_pixels: int) -> Decoded:
    """Reads a slice from an open ``.mat`` file, upright as in MATLAB's ``imshow(cjdata.image)``.

    Args:
        file: Open for reading, at its start.
        where: The file's name, for the message of an error.
        max_pixels: A larger image is refused before it is decoded.

    Raises:
        DataError: Not MATLAB v7.3, a field is missing, the label is not 1, 2 or 3, or the image is too large.
    """
    with open_hdf5(file, where, SLICE) as content:
        try:
            image, label, patient = (_field(content, name, where) for name in ("image", "label", "PID"))
            _check_image(image, where, max_pixels)
            # .T undoes MATLAB's column-major order, see the module's docstring.
            pixels = np.ascontiguousarray(image[()].T)
            if not np.isfinite(pixels).any():
                raise DataError(f"{where}: cjdata/image must have finite values; got none. Download the file again.")
            return Decoded(grey_to_rgb(to_uint8(pixels)), 1, _label(label, where), _patient(patient, where))
        except UNREADABLE as error:
            raise DataError(f"{where}: must be a whole MATLAB v7.3 file; got {error}. Download it again.") from error


def _field(content: h5py.File, name: str, where: str) -> h5py.Dataset:
    struct = content.get("cjdata")
    field = struct.get(name) if isinstance(struct, h5py.Group) else None
    if not isinstance(field, h5py.Dataset) or field.dtype.kind not in "iuf" or field.shape is None:
        raise DataError(
            f"{where}: must be MATLAB v7.3 with numbers in cjdata/image, cjdata/label and cjdata/PID; "
            f"got no such cjdata/{name}. Download it again."
        )
    return field


def _check_image(image: h5py.Dataset, where: str, max_pixels: int) -> None:
    shape = image.shape
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"{where}: cjdata/image must be a matrix; got shape {shape}. Download the file again.")
    if shape[0] * shape[1] > max_pixels:
        raise DataError(f"{where}: an image must have at most {max_pixels:,} pixels; got {shape[1]}x{shape[0]}.")


def _label(label: h5py.Dataset, where: str) -> str:
    values = label[()].ravel() if label.size == 1 else None
    number = None if values is None else values[0].item()
    if number not in LABELS:
        shown = f"{label.size} values" if number is None else f"{number:g}"
        raise DataError(f"{where}: cjdata/label must be one of {sorted(LABELS)}; got {shown}. Download the file again.")
    return LABELS[number]


def _patient(codes: h5py.Dataset, where: str) -> str:
    values = codes[()].ravel().tolist() if 0 < codes.size <= _MAX_PATIENT else []
    text = "".join(chr(int(code)) for code in values if 0 < code < 0x110000 and code == int(code)).strip()
    if not text or not text.isprintable() or len(values) != codes.size:
        raise DataError(
            f"{where}: cjdata/PID must be a text of up to {_MAX_PATIENT} characters; got another. Download it again."
        )
    return f"figshare/{text}"  # the ids are numbers, which other sets may have too
