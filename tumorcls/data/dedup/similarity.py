"""Whether two images show the same slice: their thumbnails are aligned, then their detail is correlated.

Plain correlation of thumbnails fails both ways. A copy cropped by 2% correlates less with its original than two strangers of
equal head shape do, because an outline moved by half a pixel outweighs all else. Here a small affine motion and a change of
contrast are solved for first, by one linear least-squares step (Lucas and Kanade, "An Iterative Image Registration Technique
with an Application to Stereo Vision", IJCAI 1981, section 3), and coarse shading is removed before correlating.
`docs/deduplication.md` has the figures.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tumorcls.data.dedup.orientation import UPRIGHT, Orientation, turn
from tumorcls.data.fingerprint import THUMB

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.int64]
_Items = npt.NDArray[Any]

_COARSE = THUMB // 2  # motion is solved for at half size, where 2% of the width is less than a pixel and the step is valid
_COARSE_BLUR = 0.7
_MAX_SHIFT = 8.0  # in pixels of a thumbnail; a longer motion is no solution but noise
_SHADING_BLUR, _NOISE_BLUR = 4.0, 0.8
_MARGIN = 2  # outermost pixels are not compared: alignment fills them by repetition
_HOPELESS = 0.8  # of 96,313 candidates in SARTAJ and Nickparvar, none below 0.86 reached 0.92 the other way
_CHUNK = 256


@dataclass(frozen=True)
class Views:
    """What is compared of n thumbnails: `coarse` (n, side / 2, side / 2) to align, `detail` (n, side, side) to correlate.

    Pictures are kept upright; `take_coarse` and `take_detail` return those of some indices as `orientation` shows them.
    """

    coarse: Floats
    detail: Floats
    orientation: Orientation = UPRIGHT

    def take_coarse(self, ids: Ids) -> Floats:
        """Returns (ids, side / 2, side / 2)."""
        return turn(self.coarse[ids], self.orientation)

    def take_detail(self, ids: Ids) -> Floats:
        """Returns (ids, side, side)."""
        return turn(self.detail[ids], self.orientation)


def views(thumbs: npt.NDArray[np.uint8]) -> Views:
    """Prepares thumbnails, uint8 (n, THUMB, THUMB) grey in [0, 255]; at least one."""
    return Views(np.concatenate([*_on_all_cores(_coarse, thumbs)]), np.concatenate([*_on_all_cores(_detail, thumbs)]))


def similarity(left: Views, right: Views, pairs: Pairs) -> Floats:
    """Correlates the aligned detail of pairs of thumbnails.

    Either image is moved onto the other and the better of both counts: of a crop and its original, only one holds all of the
    other.

    Args:
        left: The first of each pair.
        right: The second of each pair.
        pairs: int64 (pairs, 2), an index into `left` and one into `right`; fastest where sorted.

    Returns:
        float32 (pairs,) in [-1, 1]; 0 where a thumbnail is constant.
    """

    def best(chunk: Pairs) -> Floats:
        one, other = chunk.T
        result = _one_way(right, other, left, one)
        hope = np.flatnonzero(result >= _HOPELESS)
        result[hope] = np.maximum(result[hope], _one_way(left, one[hope], right, other[hope]))
        return result

    return np.concatenate([np.zeros(0, np.float32), *_on_all_cores(best, pairs)])


def _on_all_cores(work: Callable[[_Items], Floats], items: _Items) -> Iterator[Floats]:
    """Works on chunks of an array in threads; yields the results in order."""
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        yield from pool.map(work, chunks)


def _coarse(thumbs: npt.NDArray[np.uint8]) -> Floats:
    # The square root evens out contrast, so that a bright skull does not decide the motion alone.
    result = np.empty((len(thumbs), _COARSE, _COARSE), np.float32)
    for i, thumb in enumerate(np.sqrt(thumbs.astype(np.float32))):
        small = cv2.resize(thumb, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
        result[i] = cv2.GaussianBlur(small, (0, 0), _COARSE_BLUR)
    return result


def _detail(thumbs: npt.NDArray[np.uint8]) -> Floats:
    result = np.empty(thumbs.shape, np.float32)
    for i, thumb in enumerate(thumbs.astype(np.float32)):
        result[i] = cv2.GaussianBlur(thumb - cv2.GaussianBlur(thumb, (0, 0), _SHADING_BLUR), (0, 0), _NOISE_BLUR)
    return result


def _one_way(still: Views, still_ids: Ids, moved: Views, moved_ids: Ids) -> Floats:
    """Correlates each still image with its partner after moving the latter."""
    side = THUMB - 2 * _MARGIN
    warped = np.empty((len(still_ids), side, side), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    motions = _motions(still.take_coarse(still_ids), moved, moved_ids)
    motions[:, :, 2] += motions[:, :, :2].sum(axis=2) * _MARGIN  # the first pixel compared is not the first of the thumbnail
    for image, motion, out in zip(moved.take_detail(moved_ids), motions, warped, strict=True):
        cv2.warpAffine(image, motion, (side, side), dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    a = still.take_detail(still_ids)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN].reshape(len(still_ids), side**2)
    b = warped.reshape(len(still_ids), side**2)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    result: Floats = (np.einsum("ij,ij->i", a, b) / np.where(norm > 0, norm, 1)).astype(np.float32)
    return result


def _motions(still: Floats, moved: Views, moved_ids: Ids) -> npt.NDArray[np.float64]:
    """Solves for the affine maps, (pairs, 2, 3), from pixels of a still thumbnail to those of the moved one.

    Least squares of still = offset + gain * moved(x + u(x)), made linear in u(x): a shift, a scale along each axis, a rotation.
    """
    distinct, where = np.unique(moved_ids, return_inverse=True)
    basis = _basis(moved.take_coarse(distinct))
    gram = np.matmul(basis, basis.transpose(0, 2, 1)) + 1e-3 * np.eye(basis.shape[1], dtype=np.float32)
    target = still.reshape(len(still), _COARSE**2)
    moment = np.matmul(basis[where], target[:, :, None])
    _, gain, shift_x, shift_y, scale_x, scale_y, turn = np.linalg.solve(gram[where], moment)[:, :, 0].astype(np.float64).T
    # Without a positive gain the pictures have nothing in common; an infinite one leaves the motion at zero.
    gain = np.where(gain > 0.2, gain, np.inf)
    linear = np.array([[scale_x, turn], [-turn, scale_y]]) / gain * (2 / _COARSE)
    shift = np.array([shift_x, shift_y]) / gain * (THUMB / _COARSE)
    shift -= linear.sum(axis=1) * (THUMB - 1) / 2  # coordinates of `_basis` start in the middle
    maps = np.concatenate([linear + np.eye(2)[:, :, None], shift[:, None]], axis=1).transpose(2, 0, 1)
    still_map = np.eye(2, 3)
    sane = np.abs(maps - still_map).max(axis=(1, 2)) <= _MAX_SHIFT
    result: npt.NDArray[np.float64] = np.where(sane[:, None, None], maps, still_map)
    return result


def _basis(coarse: Floats) -> Floats:
    """Returns what each unknown of `_motions` adds to an image, (n, 7, pixels)."""
    radius = ((np.arange(_COARSE) - (_COARSE - 1) / 2) / (_COARSE / 2)).astype(np.float32)
    y, x = np.meshgrid(radius, radius, indexing="ij")
    dy, dx = np.gradient(coarse, axis=(1, 2))
    parts = [np.ones_like(coarse), coarse, dx, dy, dx * x, dy * y, dx * y - dy * x]
    return np.stack(parts, axis=1).reshape(len(coarse), len(parts), _COARSE**2).astype(np.float32)
