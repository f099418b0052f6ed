"""``search report``: write a study as one HTML page that needs no network."""

from pathlib import Path

import click

from search.commands.shared import ANY_STUDY, STORAGE, open_any, print_written


@click.command("report")
@ANY_STUDY
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="report.html", show_default=True, help="File to write."
)
@STORAGE
def command(study: str, output: Path, storage: str | None) -> None:
    """Write a study as one HTML page that needs no network."""
    from search.files import write
    from search.results.report.page import render
    from search.storage.folders import artifact_folder
    from search.storage.open import snapshot

    with open_any(study, storage) as opened:
        taken, artifacts = snapshot(opened.study), artifact_folder(opened.url)
    write(render(taken, artifacts), output)
    print_written(output)
