"""What one ``.mat`` file of figshare 1512427 holds: a slice, its label and its patient.

The files are MATLAB v7.3, that is HDF5 with a struct ``cjdata``. MATLAB stores arrays column by column, so h5py shows an image
transposed; text is an array of uint16 character codes.

Data set: Cheng, Jun (2017). "Brain tumor dataset". figshare. https://doi.org/10.6084/m9.figshare.1512427
"""

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tumorcls.errors import DataError
from tumorcls.intensity import to_uint8

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
"""The numbers in ``cjdata/label``, from the data set's README."""


@dataclass(frozen=True)
class MatSlice:
    """One slice: `image` is uint8 (height, width) grey in [0, 255], upright as in MATLAB's ``imshow(cjdata.image)``."""

    image: npt.NDArray[np.uint8]
    label: str
    patient: str


def read_mat(file: BinaryIO, where: str, max_pixels: int) -> MatSlice:
    """Reads a slice from an open ``.mat`` file.

    Args:
        file: Open for reading, at its start.
        where: The file's name, for the message of an error.
        max_pixels: A larger image is refused before it is decoded.

    Raises:
        DataError: Not MATLAB v7.3, a field is missing, the label is not 1, 2 or 3, or the image is too large.
    """
    import h5py

    try:
        with h5py.File(file, "r") as content:
            struct = content["cjdata"]
            shape = struct["image"].shape
            if len(shape) != 2 or 0 in shape:
                raise DataError(f"{where}: cjdata/image must be a matrix; got shape {shape}. Download the file again.")
            if shape[0] * shape[1] > max_pixels:
                raise DataError(f"{where}: an image must have at most {max_pixels:,} pixels; got {shape[1]}x{shape[0]}.")
            # .T undoes MATLAB's column-major order, see the module's docstring.
            pixels = np.ascontiguousarray(struct["image"][()].T)
            number = int(np.asarray(struct["label"][()]).ravel()[0])
            codes = np.asarray(struct["PID"][()]).ravel()
    except (OSError, KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        raise DataError(
            f"{where}: must be MATLAB v7.3 with cjdata/image, cjdata/label and cjdata/PID; got {error}. Download it again."
        ) from error
    if number not in LABELS:
        raise DataError(f"{where}: cjdata/label must be one of {sorted(LABELS)}; got {number}. Download the file again.")
    return MatSlice(to_uint8(pixels), LABELS[number], "".join(chr(int(code)) for code in codes).strip())
