"""``search finalists``: train the best configs and the baseline again with several seeds, and rank them."""

import click

from search.commands.shared import INTERRUPTED, STORAGE, quiet_optuna


@click.command("finalists")
@click.argument("study", metavar="STUDY.toml")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many of the best configs.")
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True, help="How many runs of each.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run at the same time.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors and the ranking.")
@STORAGE
def command(study: str, top: int, seeds: int, workers: int, quiet: bool, storage: str | None) -> int:
    """Train the best configs and the baseline again with several seeds, and rank them.

    They become a study of their own in the same storage, NAME-finalists. ^C stops cleanly; the same command goes on.
    """
    from search.results.finalist_ranking import print_ranking
    from search.results.finalists import run_finalists
    from search.storage.open import close
    from search.storage.reference import as_typed, load_named

    quiet_optuna()
    spec = load_named(study)
    launched, ranking = run_finalists(spec, top=top, seeds=seeds, workers=workers, url=storage, quiet=quiet)
    if ranking.finalists:
        print_ranking(ranking)
    close(launched.study)
    if launched.reason != "interrupted":
        return 0
    click.echo(f"Interrupted. To go on: search finalists {as_typed(study, storage=storage)} --top {top} --seeds {seeds}")
    return INTERRUPTED
