"""What stays in the device's memory from epoch to epoch and from trial to trial."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from tumorcls.model.backend import placed_bytes
from tumorcls.model.pieces import Placed, PlacedParts

Entry = TypeVar("Entry", Placed, PlacedParts)


class DeviceCache:
    """Rows on the device by what they are; the least recently used go first."""

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
