"""``search status``: print a study as a table."""

import click

from search.commands.shared import ANY_STUDY, STORAGE, open_any


@click.command("status")
@ANY_STUDY
@click.option("--all", "show_all", is_flag=True, help="Every trial instead of the last 20.")
@click.option("--by", "parameter", metavar="PARAMETER", help="Instead of the trials: bars of the value by one parameter's.")
@STORAGE
def command(study: str, show_all: bool, parameter: str | None, storage: str | None) -> None:
    """Print a study as a table."""
    from search.results.levels import print_levels
    from search.results.status import print_status

    with open_any(study, storage) as opened:
        if parameter is not None:
            print_levels(opened.study, parameter)
            return
        print_status(opened.study, budget=opened.spec.policy.trials if opened.spec else None, rows=None if show_all else 20)
