"""``search launch``: create or resume a study and run its trials."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.shared import INTERRUPTED, STORAGE, STUDY, quiet_optuna, seconds, track

if TYPE_CHECKING:
    from search.driver.launch import Launched


@click.command("launch")
@STUDY
@click.option("--trials", type=click.IntRange(min=1), help="Budget of finished trials in total, instead of the study file's.")
@click.option("--timeout", metavar="TIME", help="No trial starts after this time (90s, 20m, 8h); those that run are finished.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run at the same time.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option(
    "--take-over",
    is_flag=True,
    help="Drive the study although a driver elsewhere may be alive, and take up what no driver began.",
)
@click.option("--as", "name", metavar="NAME", help="Another name than the file's; other commands call it STUDY.toml#NAME.")
@click.option(
    "--warm-start",
    "sources",
    metavar="STUDY[,STUDY...]",
    help="Learn from a study: its name in this storage, or STUDY.toml, or URL#NAME; of several, try what did best across them.",
)
@STORAGE
def command(
    study: Path,
    trials: int | None,
    timeout: str | None,
    workers: int,
    quiet: bool,
    take_over: bool,
    name: str | None,
    sources: str | None,
    storage: str | None,
) -> int:
    """Create or resume a study and run its trials.

    ^C ends each running trial at its next report; a second ^C ends at once. Launching again goes on where it stopped.
    """
    from search.driver.launch import launch as run
    from search.driver.whole_file import load_whole
    from search.storage.open import close
    from search.storage.place import url_of
    from search.storage.reference import as_typed, read_sources
    from search.study_file.load import renamed
    from search.study_file.samplers import drawn_alone

    quiet_optuna()
    spec = load_whole(study)
    if name is not None:
        spec = renamed(spec, name, "--as")
    timeout_s = seconds(timeout) if timeout is not None else None
    if not quiet and (note := drawn_alone(spec.sampler.name, spec.conditions)):
        click.echo(note)
    with track(spec, url_of(spec, storage), storage, quiet=quiet):
        launched = run(
            spec,
            trials=trials,
            timeout_s=timeout_s,
            workers=workers,
            url=storage,
            take_over=take_over,
            warm_start=read_sources(sources, url_of(spec, storage)) if sources else (),
            quiet=quiet,
        )
    if not quiet:
        again = as_typed(study, *(("--as", name) if name else ()), storage=storage)
        _print_end(launched, again, as_typed(f"{study}{f'#{name}' if name else ''}", storage=storage))
    close(launched.study)
    return INTERRUPTED if launched.reason == "interrupted" else 0


def _print_end(launched: "Launched", arguments: str, reference: str) -> None:
    """Prints why the launch ended, the best trial and what to type next: after ``search launch``, and after other commands."""
    from search.results.ranking import describe_best
    from search.results.status import finished_count
    from search.storage.open import as_of_now

    now = as_of_now(launched.study)
    done = f"{finished_count(now)}/{launched.budget} trials"
    again = f"search launch {arguments}"
    ends: dict[str, str] = {
        "budget": f"Budget reached: {done}.",
        "timeout": f"Time is up: {done}. To go on: {again}",
        "reports": f"All reports are used up (max_reports): {done}. To go on, raise it, and: {again}",
        "device_time": f"All device time is used up (max_device_time): {done}. To go on, raise it, and: {again}",
        "patience": f"No better trial for a while (patience): {done}. To go on, raise it, and: {again}",
        "grid": f"Every config was tried: {done}.",
        "sampler": f"The sampler has ended the search: {done}.",
        "interrupted": f"Interrupted: {done}. To go on: {again}",
    }
    if launched.retried:
        click.echo(f"Lost by a driver that died, and taken up again: trials {', '.join(map(str, launched.retried))}.")
    click.echo(ends[launched.reason])
    best = describe_best(now)
    if best:
        click.echo(best)
        click.echo(f"Look at it:  search dashboard {reference}")
        click.echo(f"Export it:   search export {reference} -o best.toml")
