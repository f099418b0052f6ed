"""``search worker``: join a study on PostgreSQL or MySQL, and run trials of it here until none is left to start."""

from pathlib import Path

import click

from search.commands.shared import INTERRUPTED, LAUNCHED_AS, STORAGE, STUDY, load_study, seconds, track
from search.streams import clocked


@click.command("worker")
@STUDY
@click.option("--timeout", metavar="TIME", help="No trial starts after this time (90s, 20m, 8h); those that run are finished.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run here at a time.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@LAUNCHED_AS
@STORAGE
def command(study: Path, timeout: str | None, workers: int, quiet: bool, name: str | None, storage: str | None) -> int:
    """Join a study on PostgreSQL or MySQL, and run trials of it here until none is left to start.

    Any number of machines may join, with the same study file. The first one begins the study where nobody has launched it.
    ^C or SIGTERM ends each running trial at its next report, after 20 s in any case; the others take it up again. In
    a log each line begins with the time.
    """
    from search.driver.launch import join
    from search.storage.open import close
    from search.storage.place import url_of

    spec = load_study(study, name)
    timeout_s = seconds(timeout) if timeout is not None else None
    with clocked():
        with track(spec, url_of(spec, storage), storage, quiet=quiet):
            joined = join(spec, timeout_s=timeout_s, workers=workers, url=storage, quiet=quiet)
        if not quiet:
            from search.results.status import finished_count

            why = {"interrupted": "Interrupted", "timeout": "Time is up"}.get(joined.reason, "Nothing is left to start here")
            click.echo(f"{why}: {finished_count(joined.study)}/{joined.budget} trials of the study are finished.")
    close(joined.study)
    return INTERRUPTED if joined.reason == "interrupted" else 0
