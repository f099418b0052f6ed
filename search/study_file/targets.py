"""What ``module:attribute`` names in a study file: how it may be written, where it lies, and the import of it."""

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any, Literal

from search.errors import ObjectiveError
from search.study_file.limits import MAX_NAME
from search.study_file.rule_errors import rule_error
from search.text import show, suggest


def check_target(target: str, what: Literal["Objective", "Class"] = "Objective") -> str:
    """Returns a target that can be looked for, or raises the rule that it breaks; `what` is the kind of thing it names."""
    names = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
    if len(target) > MAX_NAME or not re.fullmatch(f"{names}:{names}", target):
        raise rule_error("must be module:attribute", got=show(target), remedy=f'Write it as "package.module:{what}".')
    if (module := target.partition(".")[0].partition(":")[0]) in sys.stdlib_module_names:
        kind = "an objective" if what == "Objective" else "a class"
        rule = f"must be {kind} of yours or of a package, not of Python's own modules"
        raise rule_error(rule, got=show(target), remedy=f"Rename the module, if {module} is yours.")
    return target


def is_own(name: str) -> bool:
    """Returns whether the name of a sampler or pruner is a target: no built-in one has a colon in its name."""
    return ":" in name


def find_beside() -> None:
    """Has the modules of the current folder found, as pytest and ``python -m`` do: a study may bring its own code."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def hidden_beside(folder: Path) -> str:
    """Returns which module of a folder nobody can import, since this package has its name; an empty text where none is."""
    if (folder / "search" / "__init__.py").exists() and not (folder / "search" / "study_file").exists():  # a checkout of ours
        return "search/__init__.py"
    return "search.py" if (folder / "search.py").exists() else ""


def import_object(target: str, key: str) -> Any:
    """Imports the module and returns its attribute, which may be that of another: ``module:Class.method``.

    `key` is where the user wrote it, such as ``study.objective``.

    Raises:
        ObjectiveError: There is no such module or attribute. What the module itself raises is passed on.
    """
    module_name, _, attribute = target.partition(":")
    try:
        result: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        remedy = f"Check {key}, and run from the folder that holds the module"
        raise ObjectiveError(f'no module named "{error.name}". {remedy}') from None
    for name in attribute.split("."):
        if not hasattr(result, name):
            public = [known for known in dir(result) if not known.startswith("_")]
            raise ObjectiveError(f'{module_name} has no attribute "{attribute}". {suggest(name, public)}')
        result = getattr(result, name)
    return result


def local_module(target: str, folder: Path) -> Path | None:
    """Returns what of a folder is imported as a target's module: its file or package; None where it is installed elsewhere."""
    name = target.partition(":")[0].partition(".")[0]
    if name == "search":  # this package, which is there already
        return None
    result = next((path for path in (folder / name, folder / f"{name}.py") if path.exists()), None)
    ours = Path(__file__).parents[2]
    return None if result is None or (name == "tumorcls" and result.resolve().parent == ours) else result
