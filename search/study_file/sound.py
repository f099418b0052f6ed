"""What of a study file that breaks a rule is sound all the same, so that its objective can be asked about that."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from search.study_file.distributions import describe_distribution
from search.study_file.limits import Unreadable, read_toml
from search.study_file.space import Param
from search.study_file.targets import check_target

_PARAM: TypeAdapter[Any] = TypeAdapter(Param)


@dataclass(frozen=True)
class SoundParts:
    """What an objective can be asked about; see `StudySpec`, which a file without errors becomes."""

    target: str
    space: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]


def sound_parts(path: Path) -> SoundParts | None:
    """Returns the sound parts of a file; None where not even its objective can be found, or its settings are no table."""
    try:
        _, tables = read_toml(path, "the study file")
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
    return SoundParts(target, sound, settings)
