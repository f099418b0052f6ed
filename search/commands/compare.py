"""``search compare``: compare what studies found, and how soon."""

from pathlib import Path

import click

from search.commands.shared import print_written, quiet_optuna


@click.command("compare")
@click.argument("studies", nargs=-1, metavar="[LABEL=]STUDY[,STUDY...]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Page to write, with the curves.")
def command(studies: tuple[str, ...], output: Path | None) -> None:
    """Compare what studies found, and how soon.

    Each STUDY is a study file or sqlite:///other.db#name. Studies that differ only in their seed go under one label:

        search compare tpe=a.toml,b.toml,c.toml random=d.toml,e.toml,f.toml -o compare.html
    """
    from search.files import open_file_of, write
    from search.results.report.comparison import compare as compare_studies
    from search.results.report.comparison_page import print_table, render
    from search.results.tables import make_console
    from search.storage.reference import read_labelled

    quiet_optuna()
    comparison = compare_studies(read_labelled(studies))
    print_table(comparison, make_console(stderr=output is not None and open_file_of(output) == 1))
    if output is not None:
        write(render(comparison), output)
        print_written(output)
