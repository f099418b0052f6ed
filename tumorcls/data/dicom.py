"""What a DICOM file holds: a slice or several frames as a person is shown them, and whose they are, as a hash.

Values are rescaled as the file says (PS3.3 C.11.1), then windowed as it says (C.11.2); where it names no window, those of more
than 8 bits are scaled by their percentiles. MONOCHROME1 is turned round. The slice is laid as in the public sets, by its
orientation (C.7.6.2): axial with the nose up, coronal with the head up, both with the patient's right on the left; sagittal
with the head up and the nose on the left. Its pixels are square, by its spacing.

Of the header nothing is kept and nothing is shown, not even in an error. The patient's id becomes a hash, by which all slices
of a patient stay on one side of a split, and so does the id of the series, by which they are known as one volume.
"""

import contextlib
import hashlib
import io
import logging
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tumorcls.data.slices import (
    MAX_SLICES,
    Decoded,
    Refused,
    SlicePlace,
    grey_to_rgb,
    number_of,
    reading_medical,
    with_square_pixels,
)
from tumorcls.data.windowing import to_uint8
from tumorcls.errors import NoReaderError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom", ".ima")
_MAGIC = slice(128, 132)
BEGINNING = 132
"""Bytes after which a file is known as DICOM."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_BYTES = 4096
_NOT_OF_A_FRAME = (0x7FE00010, 0x52009229, 0x52009230)  # pixels, and what is said of all frames and of each
_SERIES = "SeriesInstanceUID"
_OF_A_PLACE = ("NumberOfFrames", _SERIES, "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_SIDES = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""What says how high and how wide a pixel is, the first that is there: in the body, at the detector, on film, as a ratio."""


def is_dicom(content: bytes) -> bool:
    """Returns whether a file that begins like this is DICOM's."""
    return content[_MAGIC] == b"DICM"


def read_dicom(content: bytes, where: str, max_pixels: int, number: int | None = None) -> Decoded:
    """Reads a file's slice, or one of its frames.

    Args:
        content: The whole file.
        where: The file's name, for the message of an error.
        max_pixels: A larger image is refused before it is decoded.
        number: Of the frame, as they are stored, from 1; None takes the middle one.

    Raises:
        DataError: It is no DICOM file, holds no slice, not this one or one in colours, is too large or damaged, or what reads
            such files is not installed.
    """
    with reading_medical(where, "DICOM", "pydicom"):
        header = _header(content)
        _check(header, max_pixels)
        count = _frames(header)
        chosen = number_of(number, count, where)
        try:
            frame = _frame(header, chosen) if count > 1 else header
            volume = _hash_of(header, _SERIES) or (_hash_of(header, "SOPInstanceUID") if count > 1 else None)
            pixels = grey_to_rgb(_shown(header, frame, chosen, max_pixels))
            patient, position = _patient(header), _position(frame)
        except RuntimeError:
            rule = "its compression must be one that pydicom or python-gdcm reads; it is another, or the file is damaged"
            raise NoReaderError(f"{where}: {rule}. Save it uncompressed.") from None
    return Decoded(pixels, 1, patient=patient, number=chosen, count=count, volume=volume, position=position)


def read_place(content: bytes, where: str) -> SlicePlace:
    """Returns where a file's slice lies in its volume; no pixel is looked at.

    Args:
        content: The whole file, or at least all before its pixels.
        where: As in `read_dicom`.

    Raises:
        DataError: It is no DICOM file or damaged, or what reads such files is not installed.
    """
    with reading_medical(where, "DICOM", "pydicom"):
        header = _header(content, only=_OF_A_PLACE)
        return SlicePlace(count=_frames(header), volume=_hash_of(header, _SERIES), position=_position(header))


def _header(content: bytes, only: Sequence[str] = ()) -> "Dataset":
    """Returns what a file says; with `only`, of these tags, and without its pixels."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # what is used of a header is checked here
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # it would quote the header, and so would its warnings
    warnings.filterwarnings("ignore", module=r"pydicom\.")  # not for a block alone: many threads read at once
    if _DEFLATED in content[:_META_BYTES]:  # a few bytes could become gigabytes
        raise Refused("a DICOM file must not be deflated; this one is. Save it in another transfer syntax")
    try:
        return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=bool(only), specific_tags=list(only) or None)
    except InvalidDicomError:
        raise Refused("must be a DICOM file; got another. Copy the file again") from None


def _check(header: "Dataset", max_pixels: int) -> None:
    if "PixelData" not in header or "Rows" not in header or "Columns" not in header:
        raise Refused("a DICOM file must hold an image; got none. Leave it out")
    if not 1 <= _frames(header) <= MAX_SLICES:
        claimed = f"its header claims {_frames(header):,}"
        raise Refused(f"a DICOM file must hold 1 to {MAX_SLICES:,} frames; {claimed}. Copy the file again")
    if header.get("PhotometricInterpretation") not in _GREY or header.get("SamplesPerPixel", 1) != 1:
        raise Refused("a DICOM slice must be grey; got colours. Leave it out")
    if not 0 < header.Rows * header.Columns <= max_pixels:
        claimed = f"its header claims {header.Columns}x{header.Rows}"
        raise Refused(f"an image must have at most {max_pixels:,} pixels; {claimed}")


def _frames(header: "Dataset") -> int:
    frames = header.get("NumberOfFrames")
    return 1 if frames is None else int(frames)


def _frame(header: "Dataset", number: int) -> "Dataset":
    """Returns what is said of one frame: for all frames, for all of its kind (Shared Functional Groups), for it alone."""
    from pydicom import Dataset

    frame = Dataset()
    frame.update({tag: header.get_item(tag) for tag in set(header.keys()).difference(_NOT_OF_A_FRAME)})
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*(header.get("SharedFunctionalGroupsSequence") or []), *per_frame[number - 1 : number]]:
        for element in group:
            if element.VR == "SQ" and element.value:
                frame.update(element.value[0])
    return frame


def _shown(header: "Dataset", frame: "Dataset", number: int, max_pixels: int) -> npt.NDArray[np.uint8]:
    from pydicom.pixels import apply_rescale, pixel_array

    stored = pixel_array(header, index=number - 1)
    values: npt.NDArray[Any] = stored if _keeps_values(frame) else apply_rescale(stored, frame)
    turned_round = header.PhotometricInterpretation == "MONOCHROME1"
    outside = _padding(stored, header)
    if (real := values[~outside]).size:
        values = np.where(outside, real.max() if turned_round else real.min(), values)  # as dark as its darkest
    image = _windowed(values, frame)
    if image is None:
        image = to_uint8(values)
    if turned_round:
        image = 255 - image
    down, across = _sides(frame)
    image = with_square_pixels(image, across, down, max_pixels)
    return np.ascontiguousarray(_laid(image, frame.get("ImageOrientationPatient")))


def _padding(stored: npt.NDArray[Any], header: "Dataset") -> npt.NDArray[np.bool_]:
    """Marks what lies outside of the picture: of one value, or of a range of them."""
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return np.zeros(stored.shape, np.bool_)
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    marked: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return marked


def _keeps_values(frame: "Dataset") -> bool:
    """Returns whether rescaling changes nothing, after which pydicom has floats all the same."""
    scale = (frame.get("RescaleSlope", 1), frame.get("RescaleIntercept", 0))
    return not frame.get("ModalityLUTSequence") and scale == (1, 0)


def _windowed(values: npt.NDArray[Any], header: "Dataset") -> npt.NDArray[np.uint8] | None:
    """Returns the values within the file's first window, scaled to [0, 255]; None where it names none that can be."""
    from pydicom.pixels import apply_windowing

    if header.get("WindowCenter") is None or not header.get("WindowWidth"):
        return None
    try:
        low, high = apply_windowing(np.array([-1e12, 1e12]), header)  # what it makes of the darkest and the brightest
    except ValueError:  # a width that the standard does not allow
        return None
    if not math.isfinite(high - low) or high <= low:
        return None
    shares: npt.NDArray[np.float64] = (apply_windowing(values, header) - low) / (high - low)
    scaled: npt.NDArray[np.float64] = np.rint(shares.clip(0, 1) * 255)
    return scaled.astype(np.uint8)


def _sides(frame: "Dataset") -> tuple[float, float]:
    """Returns how far the rows of a slice lie apart, and its columns; alike where the file does not say."""
    for name in _SIDES:
        with contextlib.suppress(ValueError):  # not there, no numbers or not two
            down, across = np.ravel(frame.get(name, ())).astype(float).tolist()
            return down, across
    return 1.0, 1.0


def _laid(image: npt.NDArray[np.uint8], orientation: Sequence[float] | None) -> npt.NDArray[np.uint8]:
    """Turns and mirrors a slice so that it lies as in the public sets; as it is where its orientation is not known.

    Args:
        image: Shape (height, width).
        orientation: The directions in which its columns and its rows follow each other, each as (x, y, z) in the patient: to
            the left, to the back and to the head.
    """
    known = orientation if orientation is not None and len(orientation) == 6 else np.zeros(6)
    directions = np.array(known, float).reshape(2, 3)
    across, down = np.abs(directions).argmax(axis=1)
    if across == down or not np.isfinite(directions).all():
        return image
    signs = np.sign(directions[[0, 1], [across, down]])
    if across > down:
        image, across, down, signs = image.T, down, across, signs[::-1]
    if signs[0] < 0:
        image = image[:, ::-1]
    upwards = down == 2  # rows begin at the head, at the front otherwise
    return image[::-1] if (signs[1] > 0) == upwards else image


def _patient(header: "Dataset") -> str | None:
    """Returns what stands for a patient in place of their id, the same in all their files.

    Where there is no id, the study stands for them, which is of one patient; None where there is none either.
    """
    patient, issuer = (str(header.get(name) or "").strip() for name in ("PatientID", "IssuerOfPatientID"))
    return _hash(issuer, patient) if patient else _hash_of(header, "StudyInstanceUID")


def _hash_of(header: "Dataset", name: str) -> str | None:
    text = str(header.get(name) or "").strip()
    return _hash(name, text) if text else None


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _position(frame: "Dataset") -> float:
    """Returns how far a slice lies along the normal of its plane, in mm; its number in the series where that is not known."""
    place, directions = (frame.get(name) for name in ("ImagePositionPatient", "ImageOrientationPatient"))
    if place is not None and directions is not None and (len(place), len(directions)) == (3, 6):
        normal = np.cross(np.array(directions[:3], float), np.array(directions[3:], float))
        position = float(np.dot(normal, np.array(place, float)))
    else:
        position = float(frame.get("InstanceNumber") or 0)
    return position if math.isfinite(position) else 0.0
