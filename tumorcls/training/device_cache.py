"""What stays in the device's memory from epoch to epoch and from trial to trial."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

from tumorcls.model.backend import placed_bytes


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Entry = TypeVar("Entry", bound=_Sized)


class DeviceCache:
    """Rows on the device by what they are; the least recently used go first."""

    def __init__(self) -> None:
        """Makes an empty cache."""
        self._entries: OrderedDict[Hashable, _Sized] = OrderedDict()

    def get(self, key: Hashable, kind: type[Entry], place: Callable[[], Entry | None]) -> Entry | None:
        """Returns the entry of a key, placed where there is none yet; None where `place` gives none."""
        entry = self._entries.get(key)
        if entry is None:
            entry = place()
            if entry is None:
                return None
            self._entries[key] = entry
            while sum(kept.nbytes for kept in self._entries.values()) > placed_bytes() and len(self._entries) > 1:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        assert isinstance(entry, kind)
        return entry
