"""Environment variables in a config: ``"${NAME}"`` and ``"${NAME:-default}"``, by the rule of a study file's `[objective]`."""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from tumorcls.errors import ConfigError

PREFIX = "TUMORCLS_"
"""Variables that begin so may be read by any config; others only where it names them."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}")


def is_variable(name: object) -> bool:
    """Returns whether a variable can have this name."""
    return isinstance(name, str) and re.fullmatch(_NAME, name) is not None


def expand(value: Any, environ: Mapping[str, str], allowed: Collection[str], where: str) -> Any:
    """Returns a value with the variables in all of its strings replaced, in nested tables and arrays too.

    Args:
        value: What the config says.
        environ: The variables; `os.environ` but for tests.
        allowed: Those that it may read beside those that begin with `PREFIX`.
        where: The value's place, for messages.

    Raises:
        ConfigError: A variable is none of these, or has no default and is not set.
    """
    if isinstance(value, Mapping):
        return {key: expand(item, environ, allowed, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [expand(item, environ, allowed, f"{where}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if not name.startswith(PREFIX) and name not in allowed:
            raise ConfigError(
                f"{where}: a variable must begin with {PREFIX}, or be named in the file's environment; got {value!r}. "
                f'If the config may read {name}, add environment = ["{name}"] at its top.'
            )
        setting = environ.get(name)
        if default is not None:
            return setting or default
        if setting is None:
            raise ConfigError(
                f"{where}: the environment variable {name} must be set; got {value!r}. Set it (export {name}=...)."
            )
        return setting

    return _VARIABLE.sub(replace, value)


def lasting(path: str, environ: Mapping[str, str]) -> str:
    """Returns a path of a config as it can be kept: absolute, if it is one that is there from the current folder.

    Another word that the setting may have stays as it is. So does a path that begins as a variable says, since the variable
    will stand in its place.
    """
    named = any(name.startswith(PREFIX) and value and path.startswith(value) for name, value in environ.items())
    return path if named or not os.path.exists(path) else os.path.abspath(path)


def written_parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of a config's values that name a variable, as they are written."""
    return {key: value for key, value in values.items() if _VARIABLE.search(repr(value))}


def expand_known(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns a model's config with its variables replaced as far as this machine has them: most uses need none of them."""

    def known(value: Any) -> Any:
        try:
            return expand(value, environ, (), "")
        except ConfigError:
            return value

    return {key: [known(item) for item in value] if isinstance(value, list) else known(value) for key, value in values.items()}
