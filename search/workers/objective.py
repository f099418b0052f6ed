"""Imports what ``module:attribute`` names."""

import importlib
from pathlib import Path
from typing import Any

from search.errors import ObjectiveError
from search.text import suggest


def import_object(target: str, key: str) -> Any:
    """Imports the module and returns its attribute, which may be that of another: ``module:Class.method``.

    Args:
        target: What to find.
        key: Where the user wrote it, such as ``study.objective``.

    Raises:
        ObjectiveError: There is no such module or attribute. What the module itself raises is passed on.
    """
    module_name, _, attribute = target.partition(":")
    try:
        result: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise ObjectiveError(
            f'no module named "{error.name}". Check {key}, and run from the folder that holds the module'
        ) from None
    for name in attribute.split("."):
        if not hasattr(result, name):
            raise ObjectiveError(f'{module_name} has no attribute "{attribute}". {suggest(name, _public(result))}')
        result = getattr(result, name)
    return result


def local_module(target: str, folder: Path) -> Path | None:
    """Returns what of a folder is imported as a target's module: its file or package; None where it is installed elsewhere."""
    name = target.partition(":")[0].partition(".")[0]
    result = next((path for path in (folder / name, folder / f"{name}.py") if path.exists()), None)
    ours = Path(__file__).parents[2]
    return None if result is None or (name in ("search", "tumorcls") and result.resolve().parent == ours) else result


def _public(holder: Any) -> list[str]:
    return [name for name in dir(holder) if not name.startswith("_")]
