"""An Optuna study driver for any objective: a study file in, a searched and exported best config out.

The names below load on first use, so that ``import search`` stays light and imports neither Optuna nor a backend.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.driver.launch import launch
    from search.errors import SearchError
    from search.study_file.load import StudySpec, load

    __version__: str

__all__ = ["SearchError", "StudySpec", "launch", "load"]

_HOMES = {
    "SearchError": "search.errors",
    "StudySpec": "search.study_file.load",
    "launch": "search.driver.launch",
    "load": "search.study_file.load",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("tumorcls")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
