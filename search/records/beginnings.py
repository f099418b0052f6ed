"""What a study was begun from: another study whose trials it learns from, or a portfolio of configs to try first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.records.attributes import PORTFOLIO_KEY, WARM_KEY

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class WarmSource:
    """Which study another was begun from, and whether all that fits is there; as a dictionary, its user attribute."""

    study: str
    all: bool


@dataclass(frozen=True)
class Portfolio:
    """The configs, whole or in part, that a study tries after the file's own queue, and the names of the studies they are from.

    As a dictionary, it is the study's user attribute.
    """

    studies: tuple[str, ...]
    configs: tuple[Mapping[str, Any], ...]


def warm_source(study: "optuna.Study") -> WarmSource | None:
    """Returns what the study was begun from, or None."""
    match study.user_attrs.get(WARM_KEY):
        case {"study": str(name), "all": bool(everything)}:
            return WarmSource(name, everything)
    return None


def portfolio_of(study: "optuna.Study") -> Portfolio | None:
    """Returns the portfolio that a study was begun with, or None."""
    match study.user_attrs.get(PORTFOLIO_KEY):
        case {"studies": [*names], "configs": [*configs]}:
            if all(isinstance(name, str) for name in names) and all(isinstance(config, Mapping) for config in configs):
                return Portfolio(tuple(names), tuple(configs))
    return None
