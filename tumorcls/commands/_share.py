"""A share that a command is given."""

import math
from typing import Any

import click


class Share(click.FloatRange):
    """A number in a range; `nan` is in none, and compares with no end of one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number, or ends the command with a line about it."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number
