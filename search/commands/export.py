"""``search export``: write the best trial as a TOML config with its provenance."""

from pathlib import Path

import click

from search.commands.shared import ANY_STUDY, STORAGE, open_any, print_written, say


@click.command("export")
@ANY_STUDY
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write instead of printing.")
@click.option("--trial", type=click.IntRange(min=0), help="A trial's number instead of the best trial.")
@click.option(
    "--best",
    type=click.Choice(["estimate", "value"]),
    show_default="the winner of the finalists, else estimate",
    help="What the best trial has: the best estimate from its value and those of similar configs, or the best value, "
    "which holds luck.",
)
@click.option("--by", metavar="METRIC", help="With several directions: the metric whose best is taken, or compromise.")
@click.option(
    "--ensemble",
    type=click.IntRange(2, 50),
    metavar="K",
    help="Write the K best trials, of which `tumorcls train` makes one model.",
)
@STORAGE
def command(
    study: str,
    output: Path | None,
    trial: int | None,
    best: str | None,
    by: str | None,
    ensemble: int | None,
    storage: str | None,
) -> None:
    """Write the best trial as a TOML config with its provenance.

    The winner of the finalists, where there is one, and else the trial that is likely the best. --best chooses without them.
    """
    from search.files import write
    from search.results.export import export_trial
    from search.results.finalists import load_ranking
    from search.results.likely_best import likely_best
    from search.storage.open import as_of_now

    with open_any(study, storage) as opened:
        now, chosen = as_of_now(opened.study), trial is not None or by is not None
        ranking = None if chosen or best is not None else load_ranking(now)
        won = ranking is not None and ranking.winner is not None
        likely = None if chosen or best == "value" or won else likely_best(now)
        document = export_trial(now, opened.spec, opened.url, trial, by, ranking, likely, ensemble or 1)
    if likely is not None and likely.differs:
        say(likely.describe())
    if ranking is not None and ranking.winner is not None:
        say(f"trial {ranking.winner.number}, the winner of {ranking.study}: {ranking.describe_choice()}")
    if output is None:
        click.echo(document.encode(), nl=False)  # TOML is UTF-8, whatever the terminal is
    else:
        write(document, output)
        print_written(output)
