"""``search space-from-keras-tuner``: print the [space] of a HyperModel, or of a project, for a study file."""

import contextlib
import os
import sys
from pathlib import Path

import click

from search.text import plain


@click.command("space-from-keras-tuner")
@click.argument("source", metavar="MODULE:HYPERMODEL|DIR")
@click.option("--data", metavar="MODULE:FUNCTION", help="What returns the arguments of fit, to see what fit asks for too.")
def command(source: str, data: str | None) -> None:
    """Print the [space] of a HyperModel, or of a project, for a study file.

    A HyperModel, or a function of hp that builds a model, is run with many values to see what it asks for. A project's folder
    is only read.
    """
    from search.study_file.distributions import write_space
    from search.study_file.targets import find_beside

    if ":" not in source:
        from search.keras_tuner.project import read_oracle
        from search.keras_tuner.space import Fixed, conditions_of, space_of

        declared = read_oracle(Path(source)).hyperparameters.space
        space = space_of([each for each in declared if not isinstance(each, Fixed)], {})
        click.echo(write_space(space, conditions_of(declared, space)).encode(), nl=False)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    find_beside()  # as for a worker
    with contextlib.redirect_stdout(sys.stderr):  # what it prints is no TOML
        from search.keras_tuner.discovery import discover

        found = discover(source, data)
    for values, reason in found.broken:
        click.echo(f"# Could not be built with {plain(values)}: {plain(reason)}", err=True)
    click.echo(f"# What {plain(source)} asked for in {found.builds} builds.")
    for name, value in found.fixed.items():
        click.echo(f"# Fixed: {plain(name)} = {plain(repr(value))}")
    click.echo(write_space(found.space, found.conditions).encode(), nl=False)
