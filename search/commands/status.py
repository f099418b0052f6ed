"""``search status``: print a study as a table."""

import sys
from typing import Literal

import click

from search.commands.shared import ANY_STUDY, STORAGE, open_any
from search.errors import SearchError

_FORMATS = (
    "Every trial as CSV or JSON, for other programs; in CSV a metric with the name of another column is values.NAME, control "
    "characters of text are escaped, and a single quote stands before text that begins with = + - or @."
)


@click.command("status")
@ANY_STUDY
@click.option("--all", "show_all", is_flag=True, help="Every trial instead of the last 20.")
@click.option("--by", "parameter", metavar="PARAMETER", help="Instead of the trials: bars of the value by one parameter's.")
@click.option("--watch", is_flag=True, help="Draw it anew in place until nobody is at work at the study, or ^C.")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), help=_FORMATS)
@STORAGE
def command(
    study: str, show_all: bool, parameter: str | None, watch: bool, form: Literal["csv", "json"] | None, storage: str | None
) -> None:
    """Print a study as a table."""
    from search.results.levels import print_levels
    from search.results.status import budget_in, finished_count, print_status, watch_status
    from search.results.trial_rows import as_csv, as_json
    from search.storage.open import as_of_now

    if sum(map(bool, (watch, form, parameter))) > 1:
        raise SearchError("status: only one of --watch, --format and --by may be given; got several. Remove one.")
    if watch and not sys.stdout.isatty():
        raise SearchError("status: --watch needs a terminal; got a file or a pipe. Leave it out.")
    with open_any(study, storage) as opened:
        budget = budget_in(opened.study, opened.spec)
        if parameter is not None:
            print_levels(opened.study, parameter)
        elif form == "csv":
            click.echo(as_csv(opened.study, opened.study.get_trials(deepcopy=False)).encode(), nl=False)
        elif form == "json":
            now = as_of_now(opened.study)
            click.echo(as_json(now, now.get_trials(deepcopy=False), finished_count(now), budget).encode(), nl=False)
        elif watch:
            watch_status(opened.study, budget=budget)
        else:
            print_status(opened.study, budget=budget, rows=None if show_all else 20)
