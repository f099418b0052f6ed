"""What a NIfTI file holds: axial slices of a volume, laid as in the public sets, from the feet to the head.

The affine says how the volume lies; whatever its orientation, a slice is shown with the nose up and the patient's right on the
left, its pixels square. Values are scaled by slope and intercept, then as those of any image of their depth.

Only the numbers of the header are read, by nibabel. Its texts (`descrip`, `intent_name`, `db_name`, extensions) may say who the
patient is: nothing of them is kept or shown.
"""

import gzip
import hashlib
import io
import logging
import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tumorcls.data.slices import MAX_SLICES, Decoded, Refused, grey_to_rgb, number_of, reading_medical, with_square_pixels
from tumorcls.data.windowing import to_uint8

if TYPE_CHECKING:
    from nibabel import Nifti1Header

SUFFIXES = (".nii", ".nii.gz")

MAX_BYTES = 2**27
"""Of a volume, once it is unpacked: 512x512x256 of 16 bits, 256x256x256 of 64. A file of 130 KB could unpack to as much."""

_GZIP = b"\x1f\x8b"
_HEADERS = {348: (344, b"n+1\0", b"ni1\0"), 540: (4, b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")}
"""By its size, NIfTI-1 and -2: where a header's mark stands, that of one file, and that of a header apart from its values."""

_LONGEST_HEADER = max(_HEADERS)
_LATEST_START = 2**24  # after extensions
_AFTER = 2**16  # bytes that are looked at after the volume, for the checksum at the end of what gzip packed
_HASHED = 64  # values along an axis, at most: all would take longer to hash than a slice to read
_INFLATING = threading.Lock()


@dataclass(frozen=True)
class _Layout:
    """How the values lie in the file, and in the body.

    Attributes:
        shape: Of the stored array, three axes.
        dtype: Of a value.
        start: Where the values begin, in bytes.
        turns: nibabel's orientation array, (3, 2), which lays the axes to the right, to the front and to the head.
        sizes: Of a voxel along those axes, in mm.
        scale: Slope and intercept.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    start: int
    turns: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]
    scale: tuple[float, float]

    @property
    def through(self) -> int:
        """The axis across the slices: to the head, unless the file is one slice of another plane."""
        sides = self.laid_shape
        return next((axis for axis in (2, 1, 0) if sides[axis] == 1), 2)

    @property
    def laid_shape(self) -> tuple[int, ...]:
        """The sides of the volume to the right, to the front and to the head."""
        return tuple(self.shape[i] for i in np.argsort(self.turns[:, 0]))


def is_nifti(content: bytes) -> bool:
    """Returns whether a file that begins like this is NIfTI's, or packed by gzip, as no other image is."""
    return content.startswith(_GZIP) or _mark(content) is not None


def _mark(head: bytes) -> bytes | None:
    for size, (place, *marks) in _HEADERS.items():
        if size in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
            for mark in marks:
                if head[place : place + len(mark)] == mark:
                    return mark
    return None


def read_nifti(content: bytes, where: str, max_pixels: int, number: int | None = None) -> Decoded:
    """Reads one slice of a file.

    Args:
        content: The whole file, packed by gzip or not.
        where: The file's name, for the message of an error.
        max_pixels: A larger slice is refused before it is unpacked.
        number: Of the slice, from the feet, from 1; None takes the middle one.

    Raises:
        DataError: It is no NIfTI file, holds no volume, several or one in colours, has no such slice, is too large or damaged,
            or what reads such files is not installed.
    """
    with reading_medical(where, "NIfTI", "nibabel"):
        import nibabel

        logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # it would tell of each header that it mends
        head = _unpacked(content, _LONGEST_HEADER)
        mark = _mark(head)
        if mark is None:
            raise Refused("must be a NIfTI file; got another. Copy the file again")
        if mark.startswith(b"ni"):
            raise Refused("a NIfTI must be one file; this is the header of two. Save it as .nii")
        kind = nibabel.Nifti1Header if mark.startswith(b"n+1") else nibabel.Nifti2Header
        header = kind(head[: kind.sizeof_hdr])
        layout = _layout(header, max_pixels)
        count = layout.laid_shape[layout.through]
        chosen = number_of(number, count, where)
        stored = _stored(content, layout, keep=number is not None)
        image = _shown(_slice(stored, layout, chosen), layout, max_pixels)
    return Decoded(grey_to_rgb(image), 1, number=chosen, count=count, volume=_hash(stored) if count > 1 else None)


def _layout(header: "Nifti1Header", max_pixels: int) -> _Layout:
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import io_orientation

    dtype, shape = header.get_data_dtype(), tuple(int(side) for side in header.get_data_shape())
    if dtype.kind not in "iuf":
        raise Refused("a NIfTI must hold grey values; got colours or complex ones. Leave it out")
    if any(side != 1 for side in shape[3:]):
        raise Refused(f"a NIfTI must hold one volume; got {math.prod(shape[3:]):,}. Save each as a file of its own")
    first, second, third = (*shape, 1, 1, 1)[:3]
    shape = (first, second, third)
    if (size := math.prod(shape) * dtype.itemsize) > MAX_BYTES or min(shape) < 1:
        raise Refused(f"a volume must take 1 to {MAX_BYTES:,} bytes; its header claims {'x'.join(map(str, shape))}, {size:,}")
    affine = header.get_best_affine()
    turns = io_orientation(affine)
    if not np.isfinite(affine).all() or not np.isfinite(turns).all():
        raise Refused("the affine of a NIfTI must say how its axes lie; it does not. Set its sform")
    slope, intercept = header.get_slope_inter()
    scale = (1.0, 0.0) if slope is None else (slope, intercept)
    sizes = voxel_sizes(affine)[np.argsort(turns[:, 0])]
    layout = _Layout(shape, dtype, int(header.get_data_offset()), turns, sizes, scale)
    sides = [side for axis, side in enumerate(layout.laid_shape) if axis != layout.through]
    if math.prod(sides) > max_pixels:
        raise Refused(f"an image must have at most {max_pixels:,} pixels; its header claims {sides[0]}x{sides[1]}")
    if layout.laid_shape[layout.through] > MAX_SLICES:
        raise Refused(f"a volume must have at most {MAX_SLICES:,} slices; got {layout.laid_shape[layout.through]:,}")
    if not header.sizeof_hdr <= layout.start <= _LATEST_START:
        raise Refused(f"the values of a NIfTI must begin after its header; got byte {layout.start:,}. Copy the file again")
    return layout


def _stored(content: bytes, layout: _Layout, *, keep: bool) -> npt.NDArray[Any]:
    """Returns the values as they are stored; `keep` keeps the file unpacked for the next slice of it."""
    size = math.prod(layout.shape) * layout.dtype.itemsize
    with _INFLATING:
        body = (_kept_unpacked if keep and content.startswith(_GZIP) else _unpacked)(content, layout.start + size + _AFTER)
    raw = body[layout.start : layout.start + size]
    if len(raw) < size:
        raise Refused(f"a NIfTI must be whole; got {len(raw):,} of its {size:,} bytes. Copy the file again")
    return np.frombuffer(raw, layout.dtype).reshape(layout.shape, order="F")


def _hash(stored: npt.NDArray[Any]) -> str:
    """Returns what a volume is known by, however its file is packed and described: of a large one, each n-th value says it."""
    some = stored[tuple(slice(None, None, -(-side // _HASHED)) for side in stored.shape)]
    return hashlib.sha256(repr((stored.shape, stored.dtype.str)).encode() + some.tobytes("F")).hexdigest()[:24]


def _slice(stored: npt.NDArray[Any], layout: _Layout, number: int) -> npt.NDArray[Any]:
    """Returns a slice, laid as in the public sets."""
    from nibabel.orientations import apply_orientation

    laid = apply_orientation(stored, layout.turns)[::-1, ::-1, ::-1]  # to the left, to the back and to the feet
    chosen: npt.NDArray[Any] = np.take(laid, -number, axis=layout.through).T
    return chosen


def _unpacked(content: bytes, size: int) -> bytes:
    """Returns the first bytes of a file, at most `size`. The checksum of a part that ends there is checked."""
    if not content.startswith(_GZIP):
        return content[:size]
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(size)


_kept_unpacked = lru_cache(maxsize=2)(_unpacked)


def _shown(values: npt.NDArray[Any], layout: _Layout, max_pixels: int) -> npt.NDArray[np.uint8]:
    slope, intercept = layout.scale
    if (slope, intercept) != (1.0, 0.0):
        with np.errstate(all="ignore"):
            values = values.astype(np.float64) * slope + intercept
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        raise Refused("an image must have finite values; got none")
    across, down = (size for axis, size in enumerate(layout.sizes.tolist()) if axis != layout.through)
    return np.ascontiguousarray(with_square_pixels(to_uint8(values), across, down, max_pixels))
