"""``search references``: measure what is reached without a search, and keep it with the study."""

import click

from search.commands.shared import STORAGE, quiet_optuna, say


@click.command("references")
@click.argument("study", metavar="STUDY.toml")
@STORAGE
def command(study: str, storage: str | None) -> None:
    """Measure what is reached without a search, for report and finalists to show beside it.

    The objective measures it with a method references(): the value of a simple method, say, or of guessing.
    """
    from search.results.references import measure_references
    from search.storage.reference import load_named

    quiet_optuna()
    for name, values in measure_references(load_named(study), storage, say).items():
        click.echo(f"{name}: {', '.join(f'{value:.4g}' for value in values)}")
