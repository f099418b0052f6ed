import importlib

import click
import pytest

from tumorcls.cli import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_no_range_of_an_option_has_what_is_no_number(name):
    command = importlib.import_module(f"tumorcls.commands.{name.replace('-', '_')}").command
    for option in command.params:
        if isinstance(option.type, click.FloatRange):
            with pytest.raises(click.BadParameter, match=r"nan is not in the range 0<"):
                option.type.convert("nan", option, None)
            assert option.type.convert("0.5", option, None) == 0.5
