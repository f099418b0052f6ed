"""What a portable bitmap, graymap or pixmap (``P1`` to ``P6``) holds, with all its depth.

Pillow scales colours to 8 bits and reads what is not 8 bits deep value by value, which takes minutes for a large image.
Format: https://netpbm.sourceforge.net/doc/pnm.html
"""

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

_START = re.compile(rb"P[1-6](?:[\s#]|\Z)")
_HEADER = re.compile(rb"P([1-6])" + rb"(?:\s|#[^\r\n]*[\r\n])+?(\d{1,10})(?![^\s#])" * 2)
_MAXVAL = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+?(\d{1,10})(?![^\s#])")
_COMMENT = re.compile(rb"#[^\r\n]*")
_NUMBERS = b"0123456789 \t\n\v\f\r"


def is_portable_map(content: bytes) -> bool:
    """Returns whether a file begins like one."""
    return _START.match(content) is not None


def read_size(content: bytes) -> tuple[int, int]:
    """Returns width and height.

    Raises:
        ValueError: The header is none.
    """
    header = _header(content)
    return int(header[2]), int(header[3])


def _header(content: bytes) -> "re.Match[bytes]":
    header = _HEADER.match(content)
    if header is None or 0 in (int(header[2]), int(header[3])):
        raise ValueError("a header without a size")
    return header


def read_pixels(content: bytes) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Returns (height, width) or (height, width, 3).

    Values up to a maximum of 255 come out as uint8 in [0, 255], scaled by the maximum that the header names; deeper ones as
    uint16, as they are.

    Raises:
        ValueError: The header is none, values are missing, or one is above the maximum.
    """
    header = _header(content)
    kind, width, height = map(int, header.groups())
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    end, top = header.end(), 1
    if kind not in (1, 4):
        maximum = _MAXVAL.match(content, end)
        if maximum is None or not 0 < (top := int(maximum[1])) < 2**16:
            raise ValueError("a header whose largest value is not from 1 to 65,535")
        end = maximum.end()
    body = memoryview(content)[end + 1 :]  # one blank ends the header
    count = math.prod(shape)
    values: npt.NDArray[Any]
    if kind < 4:
        values = _plain(body, count, top, bits=kind == 1)
    elif kind == 4:
        stride = -(-width // 8)
        rows = np.frombuffer(_enough(body, stride * height), np.uint8).reshape(height, stride)
        values = np.unpackbits(rows, axis=1, count=width)
    else:
        depth = np.dtype(">u2" if top > 255 else np.uint8)
        values = np.frombuffer(_enough(body, count * depth.itemsize), depth)
    values = values.reshape(shape)
    if values.max() > top:
        raise ValueError(f"a value of {values.max()}, above the largest that its header allows, {top}")
    if kind in (1, 4):  # 1 is black
        return ((1 - values) * 255).astype(np.uint8)
    if top > 255:
        return values.astype(np.uint16, copy=False)
    if top < 255:
        values = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)[values]
    return values.astype(np.uint8, copy=False)


def _plain(body: memoryview, count: int, top: int, *, bits: bool) -> npt.NDArray[Any]:
    """Returns the values that stand there as text."""
    values: npt.NDArray[Any]
    if len(body) > 32 * count + 2**16:
        raise ValueError("far more text than values")
    text = _COMMENT.sub(b"", bytes(body))
    if bits:  # no blank need stand between two of them
        digits = np.frombuffer(text, np.uint8)
        values = (digits[(digits == ord("0")) | (digits == ord("1"))][:count] - ord("0")).astype(np.uint8)
    else:
        if text.translate(None, _NUMBERS):
            raise ValueError("what is no number among its values")
        values = np.fromstring(text, np.uint32, sep=" ")[:count]  # told a count, NumPy makes up what is missing
        if len(values) and values.max() > top:
            raise ValueError(f"a value of {values.max()}, above the largest that its header allows, {top}")
        values = values.astype(np.uint16)
    if len(values) < count:
        raise ValueError(f"{len(values):,} of {count:,} values (truncated)")
    return values


def _enough(body: memoryview, count: int) -> memoryview:
    if len(body) < count:
        raise ValueError(f"{len(body):,} of {count:,} bytes (truncated)")
    return body[:count]
