"""What of a study file that breaks a rule is sound all the same, so that its objective can be asked about that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from search.study_file.distributions import describe_distribution
from search.study_file.limits import Unreadable, read_toml
from search.study_file.space import Param
from search.study_file.targets import check_target

_PARAM: TypeAdapter[Any] = TypeAdapter(Param)


def sound_parts(path: Path) -> tuple[str, Mapping[str, Any], Mapping[str, Any]] | None:
    """Returns what of a file an objective can be asked about: its target, the space and its settings.

    None is for a file whose objective cannot be found, or whose settings are no table.
    """
    try:
        _, tables = read_toml(path)
        target = check_target(tables["study"]["objective"])
        space, settings = dict(tables.get("space", {})), dict(tables.get("objective", {}))
    except (Unreadable, PydanticCustomError, KeyError, TypeError, ValueError):
        return None
    sound = {}
    for name, table in space.items():
        try:
            sound[name] = describe_distribution(_PARAM.validate_python(table).distribution())
        except (ValidationError, PydanticCustomError):
            continue
    return target, sound, settings
