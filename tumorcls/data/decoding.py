"""How a file's bytes become 8-bit RGB: right or not at all, for depth and meaning of the values are taken from the file.

Pillow decodes, because it refuses a truncated file that OpenCV completes with grey and a message on stderr (see
`docs/deduplication.md`, "Decoding"). It cuts colours off at 8 bits, though: where a file has more, OpenCV reads it again, and
the upper halves of its values must be Pillow's. What each format's values become: `docs/settings.md`, "Images".
"""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from tumorcls.data import dicom, nifti, portable_map
from tumorcls.data.image_files import MAX_FILE_BYTES
from tumorcls.data.slices import Decoded, Pixels, Refused, grey_to_rgb, number_of
from tumorcls.data.windowing import to_uint8
from tumorcls.errors import DataError, reason

Values = npt.NDArray[np.generic]

MAX_PIXELS = 4096 * 4096
"""Larger images are refused from their header: MR slices end at 2048x2048, and a forged header could ask for all memory."""

MAX_DEEP_PIXELS = 2048 * 2048
"""The same for colours of 16 bits and for grey of more, of which 4096x4096 would take 400 MB to read."""

PIXELS_VERSION = 2
"""Raised when resizing gives other pixels: every stored array is made anew, and no study of before goes on.

What decoding gives is in the hash of each image, by which arrays are stored and studies are compared: where that alone changes,
`tumorcls.data.fingerprint.VERSION` is raised, and studies of other images go on.
"""

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
_BROKEN_FILE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, TypeError, AttributeError),
    *(NotImplementedError, RecursionError, ZeroDivisionError, struct.error, zlib.error, UserWarning),
)
_STRIP_PIXELS = 2**20  # converted at once, so that an image is never in memory four times over
_LARGE_PIXELS = 2**22
_LARGE_AT_ONCE = threading.Semaphore(2)  # of a folder of huge images, many threads would decode one each
_MAX_SCANS = 200  # of a JPEG, each of which goes over the whole image; encoders write about ten
_MAX_PAGES = 100

# Tags of TIFF.
_SUBFILE, _BITS, _PHOTOMETRIC, _PLANAR, _COLOUR_MAP = 254, 258, 262, 284, 320
_TILE_WIDTH, _TILE_LENGTH, _EXTRA, _SAMPLE_FORMAT = 322, 323, 338, 339
_WHITE_IS_ZERO, _RGB = 0, 2
_UNSIGNED, _SIGNED = (1,), (2,)
_PREMULTIPLIED = 1
_REDUCED_OR_MASK = 0b101

_TURNS = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: values.swapaxes(0, 1)[:, ::-1],
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: lambda values: values.swapaxes(0, 1)[::-1],
}
"""By the orientation tag of EXIF."""


def decode(file: BinaryIO, where: str, number: int | None = None) -> Decoded:
    """Decodes an open file; of too large an image only the header is read.

    The orientation tag of EXIF is applied: it is how the picture was shown to whoever labelled it. Transparent parts become
    black, the background of a slice. Values deeper than 8 bits are scaled by percentiles (`tumorcls.data.windowing`). Of an
    animation the first picture is taken.

    Args:
        file: Open for reading, at its start.
        where: Names it in errors; one that ends in ``.mat`` is MATLAB's, and their endings make a file DICOM's or NIfTI's.
        number: Of the slice of a volume, from 1; None takes the middle one.

    Raises:
        DataError: The file is empty, truncated, no image, of a kind that cannot be read right, has more than `MAX_PIXELS`
            pixels, or no such slice.
    """
    content = file.read(MAX_FILE_BYTES + 1)
    if not content:
        raise DataError(f"{where}: an image must not be empty; got 0 bytes. Copy the file again.")
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{where}: an image file must have at most {MAX_FILE_BYTES:,} bytes; got more. Scale it down.")
    if dicom.is_dicom(content) or where.lower().endswith(dicom.SUFFIXES):
        return dicom.read_dicom(content, where, MAX_DEEP_PIXELS, number)
    if nifti.is_nifti(content) or where.lower().endswith(nifti.SUFFIXES):
        return nifti.read_nifti(content, where, MAX_DEEP_PIXELS, number)
    number_of(number, 1, where)
    if where.lower().endswith(".mat"):
        from tumorcls.data.matlab import read_mat

        return read_mat(io.BytesIO(content), where, MAX_PIXELS)
    try:
        return _decode_map(content) if portable_map.is_portable_map(content) else _decode_image(content)
    except Refused as error:
        raise DataError(f"{where}: {error}.") from None
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: must be an image of a kind that is read ({', '.join(_FORMATS)}); got another.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: an image must have at most {MAX_PIXELS:,} pixels; its header claims far more.") from error
    except _BROKEN_FILE as error:
        raise DataError(f"{where}: must be a whole image; got {reason(error)}. Copy the file again.") from error


def _check_size(width: int, height: int, *, deep: bool = False) -> None:
    if width * height > (most := MAX_DEEP_PIXELS if deep else MAX_PIXELS):
        depth = " of its depth" if deep else ""
        raise Refused(f"an image{depth} must have at most {most:,} pixels; its header claims {width}x{height}")


def _room_for(width: int, height: int) -> "threading.Semaphore | nullcontext[None]":
    return _LARGE_AT_ONCE if width * height > _LARGE_PIXELS else nullcontext()


def _decode_map(content: bytes) -> Decoded:
    size = portable_map.read_size(content)
    _check_size(*size, deep=len(content) > 5 * size[0] * size[1])  # more than a byte a value
    with _room_for(*size):
        values = to_uint8(portable_map.read_pixels(content))
        return Decoded(values, 3) if values.ndim == 3 else Decoded(grey_to_rgb(values), 1)


def _decode_image(content: bytes) -> Decoded:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        _check_size(*image.size)
        if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > _MAX_SCANS:
            raise Refused(f"a JPEG must have at most {_MAX_SCANS} scans; got more")
        if image.format == "TIFF":
            _choose_page(image)
            _check_tiff(image)
        with _room_for(*image.size):
            deep = image.mode[0] not in "IF" and _has_more_than_8_bits(image)
            _check_size(*image.size, deep=deep or image.mode in ("I", "F"))
            image.load()
            channels = len(image.getbands())
            if deep:
                return Decoded(to_uint8(_deep_colour(image, content)), channels)
            ImageOps.exif_transpose(image, in_place=True)
            grey = _deep_grey(image)
            return Decoded(_eight_bits(image) if grey is None else grey_to_rgb(to_uint8(grey)), channels)


def _choose_page(image: Image.Image) -> None:
    """Goes to the only page that is no thumbnail and no mask: any one of several slices would be a guess."""
    if not getattr(image, "is_animated", False):
        return
    pages = []
    for number in range(_MAX_PAGES):
        try:
            image.seek(number)
        except EOFError:
            break
        if not int(_tags(image).get(_SUBFILE, 0)) & _REDUCED_OR_MASK:
            pages.append(number)
    if len(pages) != 1:
        raise Refused(f"a TIFF must hold one picture; got {len(pages)}. Save each as a file of its own")
    image.seek(pages[0])
    _check_size(*image.size)


def _tags(image: Image.Image) -> "dict[int, Any]":
    return getattr(image, "tag_v2", {})


def _check_tiff(image: Image.Image) -> None:
    tags = _tags(image)
    if _PHOTOMETRIC not in tags and image.mode not in ("RGB", "YCbCr"):
        raise Refused("a TIFF must say what its values mean; got no PhotometricInterpretation. Save it again")
    if _TILE_WIDTH in tags:
        _check_size(int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH]))


def _has_more_than_8_bits(image: Image.Image) -> bool:
    """Asks the header; `image` has not been loaded."""
    if image.format == "PNG":
        return any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    return bool(max(_tags(image).get(_BITS, (8,))) > 8)


def _deep_colour(image: Image.Image, content: bytes) -> npt.NDArray[Any]:
    """Returns colours of 16 bits, (height, width, 3), on black; `image` has been loaded by Pillow."""
    tags = _tags(image)
    if tags and (tags[_PHOTOMETRIC], tags.get(_PLANAR, 1), _PREMULTIPLIED in tags.get(_EXTRA, ())) != (_RGB, 1, False):
        raise Refused("deep colours must be plain RGB or RGBA, pixel by pixel; got another kind. Save it with 8 bits")
    values: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[1::-1] != image.size:
        raise Refused("deep colours must be readable by OpenCV; they are not. Save it with 8 bits")
    values[:, :, :3] = values[:, :, 2::-1]
    for rows, strip in _strips(image):
        known = np.asarray(strip.convert("RGB") if strip.mode == "RGBX" else strip)
        if (known != values[rows][:, :, : known.shape[2]] >> 8).any():
            raise Refused("deep colours must be the same to Pillow and to OpenCV; they are not. Save it with 8 bits")
    transparent = values.shape[2] == 4 and ("A" in image.getbands() or "transparency" in image.info)
    if transparent and not values[:, :, 3].any():
        raise Refused("an image must not be wholly transparent; this one is")
    if transparent:
        for rows, _ in _strips(image):
            part = values[rows].astype(np.uint32)
            values[rows][:, :, :3] = (part[:, :, :3] * part[:, :, 3:] + 32767) // 65535
    turn = _TURNS.get(int(image.getexif().get(0x0112, 1)))
    image.close()
    colours = _without_alpha(values)
    return colours if turn is None else np.ascontiguousarray(turn(colours))


def _without_alpha(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Moves the colours together within their own memory: a copy would be 100 MB."""
    height, width, channels = values.shape
    if channels == 3:
        return values
    pixels, packed = values.reshape(-1, channels), values.reshape(-1)[: height * width * 3].reshape(-1, 3)
    for start in range(0, len(pixels), _STRIP_PIXELS):
        packed[start : start + _STRIP_PIXELS] = pixels[start : start + _STRIP_PIXELS, :3].copy()
    return packed.reshape(height, width, 3)


def _deep_grey(image: Image.Image) -> Values | None:
    """Returns grey values of another type than uint8, and frees the image; None where there are none."""
    tags = _tags(image)
    sample_format, white_is_zero = tags.get(_SAMPLE_FORMAT, _UNSIGNED), tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    key = image.info.get("transparency")
    if image.mode == "L" and sample_format == _SIGNED:
        return _taken(image).view(np.int8)
    if image.mode[0] not in "IF":
        return None
    values = _taken(image)
    if isinstance(key, int):
        values[values == key] = 0
    if values.dtype == np.int32 and sample_format == _UNSIGNED and tags:
        values = values.view(np.uint32)
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        raise Refused("an image must have finite values; got none")
    if white_is_zero:  # Pillow turns round what has 8 bits; scaled by its own percentiles, any falling order will do
        values = -values if values.dtype.kind == "f" else ~values
    return values


def _taken(image: Image.Image) -> npt.NDArray[Any]:
    """Returns the image's values as they are stored, and frees the image: both at once would be 64 MB."""
    values = np.empty((image.height, image.width), np.asarray(image.crop((0, 0, 1, 1))).dtype)
    for rows, strip in _strips(image):
        values[rows] = np.asarray(strip)
    image.close()
    return values


def _eight_bits(image: Image.Image) -> Pixels:
    if image.mode == "P" and (colours := _tags(image).get(_COLOUR_MAP)) and max(colours) < 256:
        # A TIFF's colours have 16 bits; some programs write 8, which all would become black.
        image.putpalette(np.array(colours, np.uint8).reshape(3, -1).T.tobytes())
    if "A" in image.getbands() and image.getchannel("A").getextrema()[1] == 0:
        raise Refused("an image must not be wholly transparent; this one is")
    inverted = image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info  # Pillow assumes Adobe's way
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for rows, strip in _strips(image):
        rgb[rows] = np.asarray(_on_black(ImageChops.invert(strip) if inverted else strip))
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


def _on_black(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    return image.convert("RGB")
