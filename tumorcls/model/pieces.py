"""How rows reach the device: all of them once, or in large pieces of one shape, so that each is compiled once."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import Rows
from tumorcls.model.backend import is_tensorflow_on_cpu, placed_bytes

PREDICT_BATCH = 64
"""Images or activations in one inference batch; fixed, so that results do not depend on a trial's batch size."""

_CACHED_PIXELS = 2**19
"""Of images that go through the network together on a CPU, so that what a layer makes of them is in its caches for the next."""

TRAINING_BYTES = 64 * 2**20
"""Of the rows in a piece to train on, where they are not on the device already."""

PREDICTION_BYTES = 4 * 2**20
"""Of the rows in a piece to predict. What does not fill the last one is room that is wasted."""


class Piece(NamedTuple):
    """Steps that are trained in one dispatch.

    Attributes:
        rows: Images or activations, (n, ...), on the device or not yet.
        targets: float32 (n, classes).
        order: int32 (at least `steps`, batch), the rows of each step.
        steps: How many of them are trained.
    """

    rows: Any
    targets: NDArray[np.float32]
    order: NDArray[np.int32]
    steps: int


@dataclass(frozen=True)
class Placed:
    """Rows in the memory of the device, filled up to whole batches of prediction; `nbytes` of them there."""

    rows: Any
    nbytes: int


@dataclass(frozen=True)
class PlacedParts:
    """Pieces of rows in the memory of the device, each with how many batches it holds; `count` rows in all."""

    pieces: Sequence[tuple[Any, int]]
    count: int
    nbytes: int


Entry = TypeVar("Entry", Placed, PlacedParts)


class DeviceCache:
    """Rows that stay on the device from epoch to epoch and from trial to trial; the least recently used go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, place: Callable[[], Entry | None]) -> Entry | None:
        """Returns the entry of a key, placed where there is none yet; None where `place` gives none."""
        entry: Entry | None = self._entries.get(key) or place()
        if entry is not None:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while sum(kept.nbytes for kept in self._entries.values()) > placed_bytes() and len(self._entries) > 1:
                self._entries.popitem(last=False)
        return entry


def training_pieces(
    inputs: Rows | Placed, targets: NDArray[np.float32], batches: NDArray[np.int32], whole: bool
) -> Iterator[Piece]:
    """Gives the pieces of an epoch of inputs (n, ...) and targets (n, classes); batches (steps, batch) are each step's rows.

    It is one piece where the inputs are on the device. Else one may hold many steps where `whole` says so.
    """
    size = batches.shape[1]
    if isinstance(inputs, Placed):
        count = len(inputs.rows)
        yield Piece(inputs.rows, filled(targets, count), filled(batches, count // size), len(batches))
        return
    steps = max(1, TRAINING_BYTES // (size * _row_bytes(inputs))) if whole else 1
    within = np.arange(steps * size, dtype=np.int32).reshape(steps, size)
    for first in range(0, len(batches), steps):
        some = batches[first : first + steps]
        picked = some.ravel()
        yield Piece(filled(inputs[picked], steps * size), filled(targets[picked], steps * size), within, len(some))


def prediction_pieces(parts: Sequence[Any], whole: bool) -> Iterator[tuple[NDArray[Any], int]]:
    """Gives the rows of all parts, one after another, in pieces, and how many batches of each are to be predicted."""
    size = whole_batches(max(1, PREDICTION_BYTES // _row_bytes(parts[0]))) if whole else PREDICT_BATCH
    waiting: list[NDArray[Any]] = []
    room = size
    for part in parts:
        first = 0
        while first < len(part):
            some = part[first : first + room]
            waiting.append(some)
            first += len(some)
            room -= len(some)
            if not room:
                yield np.concatenate(waiting), size // PREDICT_BATCH
                waiting, room = [], size
    if waiting:
        yield filled(np.concatenate(waiting), size), whole_batches(size - room) // PREDICT_BATCH


def images_together(image_size: int) -> int:
    """Returns how many images, `image_size` pixels a side, should go through the network together.

    It is a power of two, of which `PREDICT_BATCH` is a multiple.

    TensorFlow on a CPU computes a layer for all of them before the next one: on one core 64 images of 224 pixels take a sixth
    longer than eight times eight (`benchmarks/images_together.py`), and nearly twice as long with other kernels than oneDNN's.
    A GPU takes `PREDICT_BATCH`, and so does XLA, to which it is all the same.
    """
    if not is_tensorflow_on_cpu():
        return PREDICT_BATCH
    return min(PREDICT_BATCH, 1 << int(math.log2(max(1, _CACHED_PIXELS // image_size**2))))


def filled(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Returns `count` rows, those that are missing filled with zeros."""
    if len(rows) == count:
        return np.asarray(rows)
    whole = np.zeros((count, *rows.shape[1:]), rows.dtype)
    whole[: len(rows)] = rows
    return whole


def whole_batches(count: int) -> int:
    """Returns the least number of rows, `count` or more, that fills batches of prediction."""
    return math.ceil(count / PREDICT_BATCH) * PREDICT_BATCH


def bytes_of(rows: Rows) -> int:
    """Returns what rows take."""
    return len(rows) * _row_bytes(rows)


def _row_bytes(rows: Rows) -> int:
    return max(1, int(np.asarray(rows[:1]).nbytes))
