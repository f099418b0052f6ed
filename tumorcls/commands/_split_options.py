"""The options that `tumorcls prepare` and `tumorcls audit` share: which folders, and how to split them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tumorcls.cache.folder import cache_folder
from tumorcls.commands._options import FILE, slices_option

if TYPE_CHECKING:
    from tumorcls.data.split import SplitSettings

_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.argument("folders", nargs=-1, required=True, metavar="DATA..."),
    slices_option("Which slices of a volume are used, where a table names none."),
    click.option("--validation", type=float, default=0.15, show_default=True, help="Share of validation images."),
    click.option("--test", type=float, default=0.15, show_default=True, help="Share of test images."),
    click.option("--seed", type=int, default=0, show_default=True, help="Fixes which groups go where."),
    click.option("--official-test", is_flag=True, help="Use the data sets' own test folders; training twins move out."),
    click.option(
        "--duplicates",
        type=click.Choice(["group", "keep-best", "drop"]),
        default="group",
        show_default=True,
        help="Keep copies on one side, keep the largest only, or keep none of what occurs twice.",
    ),
    click.option(
        "--conflicts",
        type=click.Choice(["leave-out", "keep"]),
        default="leave-out",
        show_default=True,
        help="What to do with copies whose labels differ.",
    ),
    click.option("--flips/--no-flips", default=True, show_default=True, help="Whether mirror images are copies."),
    click.option("--quarter-turns", is_flag=True, help="Pictures turned by 90 degrees are copies too."),
    click.option("--binary", is_flag=True, help="Tumour or no tumour: uses images of untyped tumours."),
    click.option("--cache-dir", type=FILE, default=cache_folder, help="Where fingerprints are kept."),
)


def split_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds DATA..., the options of `SplitSettings`, ``--slices`` and ``--cache-dir`` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_of(values: dict[str, Any]) -> "SplitSettings":
    """Validates the options.

    Raises:
        ConfigError: A share is out of range.
    """
    from pydantic import ValidationError

    from tumorcls.data.split import SplitSettings
    from tumorcls.errors import ConfigError

    try:
        return SplitSettings(**values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        option = "--" + str(problem["loc"][0]).replace("_", "-") if problem["loc"] else "--validation and --test"
        rule = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{option}: {rule}; got {problem['input']!r}. Choose another share.") from None
