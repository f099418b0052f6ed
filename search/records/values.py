"""What a study's values are called."""

from collections.abc import Collection, Sequence

import optuna

PREFIX = "values."
"""Begins the key of a value whose name is another key's."""


def value_names(study: optuna.Study) -> list[str]:
    """Returns the names of the values; ``value`` where the study gives none, or two the same."""
    count, named = len(study.directions), study.metric_names
    if isinstance(named, list) and len(named) == count == len(set(map(str, named))):
        return [str(name) for name in named]
    return ["value"] if count == 1 else [f"value_{index}" for index in range(count)]


def value_keys(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Returns what values are called among other things, by their names: with `PREFIX`, where one might be taken for another.

    The others are those `taken`, and parameters, each after ``params.``.
    """
    return [f"{PREFIX}{name}" if name in taken or name.startswith((PREFIX, "params.")) else name for name in names]
