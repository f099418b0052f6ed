"""A config file, as `search export` writes it, read whole: what is trained, and where its values come from."""

import functools
import math
import operator
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorcls.config.train_config import TrainConfig, short
from tumorcls.config.variables import expand, is_variable
from tumorcls.errors import ConfigError, later_file, newer_version, one_line, reason
from tumorcls.files import read_whole

_MAX_BYTES = 2**20
_MAX_DEPTH = 20
_MAX_MEMBERS = 50
_MAX_INTEGER = 2**63 - 1  # of TOML

# A key of dotted parts takes tomllib a time that grows with their number squared, before anybody can count its tables.
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+({_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{_MAX_DEPTH}}})", re.MULTILINE)


@dataclass(frozen=True)
class Member:
    """One of several runs that one model is made of; messages call it by its name."""

    config: TrainConfig
    seed: int
    name: str


@dataclass(frozen=True)
class ConfigFile:
    """A config file.

    Attributes:
        config: Its table `config`, checked, its environment variables expanded.
        written: The table as it is written; a value that the file says is none is None.
        provenance: The table `provenance`; empty where there is none.
        members: Its tables `members`, of which one model is to be made; empty where there are none.
    """

    config: TrainConfig
    written: Mapping[str, Any]
    provenance: Mapping[str, Any]
    members: tuple[Member, ...] = ()

    @property
    def recorded(self) -> Mapping[str, Any]:
        """What the exported trial was measured with; empty where the file does not say."""
        recorded = self.provenance.get("recorded")
        return recorded if isinstance(recorded, dict) else {}


def read_config(path: Path) -> ConfigFile:
    """Reads a config file.

    Raises:
        ConfigError: The file cannot be read, is not TOML, has no `[config]` table, or a value in it is wrong.
    """
    document = _read_toml(path)
    written = document.get("config")
    if not isinstance(written, dict):
        raise ConfigError(f"{path}: a config must have a [config] table; it has none. Write one with `search export`.")
    provenance = document.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ConfigError(f"{path}: provenance: must be a table; got {short(provenance)}. Export the file again, or remove it.")
    allowed = document.get("environment", [])
    if not isinstance(allowed, list) or not all(map(is_variable, allowed)):
        raise ConfigError(f'{path}: environment: must name variables; got {short(allowed)}. Write environment = ["MY_DATA"].')
    _set_none(path, document)
    recorded = provenance.get("recorded")
    version = newer_version(recorded.get("tumorcls") if isinstance(recorded, dict) else None)
    try:
        config = TrainConfig.parse(expand(written, os.environ, allowed, f"{path}: config"), where=str(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {later_file('a config', version)}" if version else str(error)) from None
    return ConfigFile(config, written, provenance, _members(path, document, allowed, config))


def check_seed(seed: object, where: str) -> int:
    """Returns the seed of a run.

    Raises:
        ConfigError: It is no whole number from 0 to 2**63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MAX_INTEGER:
        raise ConfigError(f"{where}: must be a whole number from 0 to 2**63 - 1; got {short(seed)}. Change it, or use --seed.")
    return seed


_ALIKE = ("data", "slices", "split", "weights", "image_size", "trainable_from", "batch_norm", "views", "noises")
"""Fields in which members agree, so that their weights have the same meaning and their scores the same images."""


def _members(path: Path, document: Mapping[str, Any], allowed: list[str], config: TrainConfig) -> tuple[Member, ...]:
    tables = document.get("members", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: members: must be tables; got {short(tables)}. Export the file again.")
    if len(tables) > _MAX_MEMBERS:
        raise ConfigError(f"{path}: members: must be at most {_MAX_MEMBERS}; got {len(tables)}. Remove some.")
    found = []
    for index, table in enumerate(tables):
        where = f"{path}: members[{index}]"
        if not isinstance(table.get("config"), dict):
            raise ConfigError(f"{where}: must have a table config; got {short(table)}. Export the file again.")
        parsed = TrainConfig.parse(expand(table["config"], os.environ, allowed, f"{where}.config"), where=where)
        for field in _ALIKE:
            if (got := getattr(parsed, field)) != (wanted := getattr(config, field)):
                rule = f"{where}.config.{field}: members of one model must have the same; got {short(got)} and {short(wanted)}"
                raise ConfigError(f"{rule}. Remove this member.")
        name = f"trial {table['trial']}" if isinstance(table.get("trial"), int) else f"member {index}"
        found.append(Member(parsed, check_seed(table.get("seed", 0), f"{where}.seed"), name))
    return tuple(found)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = read_whole(path, _MAX_BYTES).decode("utf-8-sig")  # some editors begin with a byte order mark
        if _DEEP_KEY.search(text):
            raise _too_deep(path)
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        rule = "a config must exist; got no such file" if missing else f"a config must be a readable TOML file; {reason(error)}"
        raise ConfigError(f"{path}: {rule}. Write one with `search export`.") from None
    except RecursionError:
        raise _too_deep(path) from None
    except ValueError as error:  # TOMLDecodeError is one, and so is what Python says of a number of too many digits
        problem = one_line(str(error).partition("; use sys.set_int")[0])
        raise ConfigError(f"{path}: a config must be TOML; {problem}. Mend the file or export it again.") from None
    for value, depth in _nested(document, 0):
        if depth > _MAX_DEPTH:
            raise _too_deep(path)
        if isinstance(value, int) and not -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER:
            got = f"one of {int(math.log10(abs(value))) + 1} digits"
            raise ConfigError(f"{path}: a whole number must fit in 64 bits; got {got}. Write a smaller one.")
    return document


def _nested(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """Yields a value and all in it, with the number of arrays and tables around each."""
    yield value, depth
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nested(item, depth + 1)


def _set_none(path: Path, document: Mapping[str, Any]) -> None:
    """Sets the places of `[config]` to None that are without a value: TOML has no null."""
    places = document.get("none", [])
    if not isinstance(places, list) or not all(isinstance(place, list) and place for place in places):
        raise ConfigError(f'{path}: none: must be an array of places; got {short(places)}. Write none = [["name"]].')
    for place in places:
        *steps, last = place
        try:
            if any(isinstance(step, bool) or (isinstance(step, int) and step < 0) for step in place):
                raise TypeError
            holder = functools.reduce(operator.getitem, steps, document["config"])
            if isinstance(last, str) != isinstance(holder, dict):
                raise TypeError
            holder[last] = None
        except (LookupError, TypeError):
            rule = f"none: must name places of [config]; got {short(place)}"
            raise ConfigError(f"{path}: {rule}. Export the file again.") from None


def _too_deep(path: Path) -> ConfigError:
    return ConfigError(f"{path}: arrays and tables may be nested {_MAX_DEPTH} deep; got deeper ones. Export the file again.")
