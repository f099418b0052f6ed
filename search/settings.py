"""Environment variables in the objective's settings: ``"${NAME}"`` and ``"${NAME:-default}"``."""

import re
from collections.abc import Mapping
from typing import Any

from search.errors import StudyFileError

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def expand(settings: Mapping[str, Any], environ: Mapping[str, str], where: str) -> dict[str, Any]:
    """Returns `settings` with the variables in all of its strings replaced, in nested tables and arrays too.

    As in a shell, ``${NAME:-default}`` takes the default where the variable is unset or empty.

    Args:
        settings: What the study file says.
        environ: The variables; `os.environ` but for tests.
        where: The place of `settings` for error messages, such as ``"studies/x.toml: objective"``.

    Raises:
        StudyFileError: A variable without a default is not set.
    """
    return {key: _expand(value, environ, f"{where}.{key}") for key, value in settings.items()}


def _expand(value: Any, environ: Mapping[str, str], where: str) -> Any:
    if isinstance(value, Mapping):
        return expand(value, environ, where)
    if isinstance(value, list):
        return [_expand(item, environ, f"{where}[{at}]") for at, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        found = environ.get(name)
        if default is not None:
            return found or default
        if found is None:
            raise StudyFileError(
                f'{where}: the environment variable {name} must be set; got "{value}". '
                f"Set it (export {name}=...), or give a default (${{{name}:-...}})."
            )
        return found

    return _VARIABLE.sub(replace, value)
