"""What options of several commands have in common: files, shares, slices of a volume, unseen corruptions."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path)

UNSEEN: Callable[[Any], Any] = click.option(
    "--unseen",
    type=click.Choice(["all", "middle", "none"]),
    default="middle",
    show_default=True,
    help="Severities of the corruptions that no training draws: all five, the third, or none. All take three times as long.",
)


def slices_option(meaning: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns the option ``--slices``; its help says what it means for the command."""
    return click.option("--slices", type=click.Choice(["middle", "all"]), default="middle", show_default=True, help=meaning)


class Share(click.FloatRange):
    """A number in a range; `nan` is in none, and compares with no end of one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number, or ends the command with a line about it."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number
