"""KerasTuner both ways: its projects as studies, its HyperModels as objectives.

Reading a project needs nothing of KerasTuner. The names below do, and with it Keras: they load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.keras_tuner.hypermodel import HyperModelObjective

__all__ = ["HyperModelObjective"]

_HOMES = {
    "HyperModelObjective": "search.keras_tuner.hypermodel",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
