"""KerasTuner both ways: its projects as studies, its HyperModels as objectives, our objectives under its tuners.

Reading a project needs nothing of KerasTuner. The names below do, and with it Keras: they load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.keras_tuner.hypermodel import HyperModelObjective
    from search.keras_tuner.tuner import ObjectiveTuner, hyper_parameters, study_tuner

__all__ = ["HyperModelObjective", "ObjectiveTuner", "hyper_parameters", "study_tuner"]

_HOMES = {
    "HyperModelObjective": "search.keras_tuner.hypermodel",
    "ObjectiveTuner": "search.keras_tuner.tuner",
    "hyper_parameters": "search.keras_tuner.tuner",
    "study_tuner": "search.keras_tuner.tuner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
