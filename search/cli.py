"""The command ``search``: one function for each of its commands.

Everything heavy is imported inside the functions, so that ``search --help`` answers at once.
"""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.keras_tuner import import_keras_tuner, space_from_keras_tuner
from search.errors import SearchError
from search.streams import forgive_output, unwritten_output
from search.text import error_line, show_path

if TYPE_CHECKING:
    from search.driver.launch import Launched
    from search.driver.slurm import Cluster
    from search.storage.reference import Opened
    from search.study_file.load import StudySpec

_STUDY = click.argument("study", metavar="STUDY.toml", type=click.Path(path_type=Path))
_ANY_STUDY = click.argument("study", metavar="STUDY.toml[#NAME]|URL#NAME")
_STORAGE = click.option("--storage", metavar="URL", help="Storage instead of the study file's, such as sqlite:///other.db.")
_INTERRUPTED = 130  # what a shell reports for a command ended by ^C


def main() -> None:
    """Runs the command line: exit code 0 done, 1 the user's mistake in one line, 130 interrupted, a traceback for a bug."""
    forgive_output()
    code = _run()
    if not code and (cut := unwritten_output()):
        _say(f"error: {cut}")
        code = 1
    sys.exit(code)


def _run() -> int | None:
    code: int | None
    try:
        code = cli.main(prog_name="search", standalone_mode=False)
    except SearchError as error:
        _say(f"error: {error_line(error)}")
        code = 1
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "search"
        _say(f"error: {command}: {error_line(error.format_message())} Try {command} --help.")
        code = 1
    except click.ClickException as error:
        _say(f"error: {error_line(error.format_message())}")
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
def cli() -> None:
    """Search hyperparameters: launch a study, look at it, export its best config.

    Commands that only read take a study file, or the URL of a storage and the name of any Optuna study in it:
    sqlite:///other.db#name.
    """


@cli.command()
@_STUDY
@click.option("--trials", type=click.IntRange(min=1), help="Budget of finished trials in total, instead of the study file's.")
@click.option("--timeout", metavar="TIME", help="Wall time of this launch (90s, 20m, 8h), instead of the study file's.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run at the same time.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--take-over", is_flag=True, help="Drive the study although a driver on another machine may be alive.")
@click.option("--as", "name", metavar="NAME", help="Another name than the file's; other commands call it STUDY.toml#NAME.")
@click.option(
    "--warm-start", "source", metavar="STUDY", help="Learn from a study: its name in this storage, or STUDY.toml, or URL#NAME."
)
@_STORAGE
def launch(
    study: Path,
    trials: int | None,
    timeout: str | None,
    workers: int,
    quiet: bool,
    take_over: bool,
    name: str | None,
    source: str | None,
    storage: str | None,
) -> int:
    """Create or resume a study and run its trials.

    ^C ends each running trial at its next report; a second ^C ends at once. Launching again goes on where it stopped.
    """
    from search.driver.launch import launch as run
    from search.storage.open import close
    from search.storage.reference import read_source
    from search.storage.url import hide_password
    from search.study_file.load import renamed
    from search.study_file.samplers import drawn_alone

    spec = _load(study)
    if name is not None:
        spec = renamed(spec, name, "--as")
    timeout_s = _seconds(timeout) if timeout else None
    if not quiet and (note := drawn_alone(spec.sampler.name, spec.conditions)):
        click.echo(note)
    launched = run(
        spec,
        trials=trials,
        timeout_s=timeout_s,
        workers=workers,
        url=storage,
        take_over=take_over,
        warm_start=read_source(source, storage or spec.storage) if source else None,
        quiet=quiet,
    )
    if not quiet:
        where = f" --storage {hide_password(storage)}" if storage else ""
        _print_end(launched, f"{study}{f' --as {name}' if name else ''}{where}", f"{study}{f'#{name}' if name else ''}{where}")
    close(launched.study)
    return _INTERRUPTED if launched.reason == "interrupted" else 0


@cli.command()
@_STUDY
@click.option("--timeout", metavar="TIME", help="Wall time of this worker (90s, 20m, 8h), instead of the study file's.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run here at a time.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--as", "name", metavar="NAME", help="The study's name, where it was launched with --as.")
@_STORAGE
def worker(study: Path, timeout: str | None, workers: int, quiet: bool, name: str | None, storage: str | None) -> int:
    """Join a study on PostgreSQL or MySQL, and run trials of it here until none is left to start.

    Any number of machines may join, with the same study file. The first one begins the study where nobody has launched it.
    ^C or SIGTERM ends each running trial at its next report, after 20 s in any case; the others take it up again.
    """
    from search.driver.join import join
    from search.storage.open import close
    from search.study_file.load import renamed

    spec = _load(study)
    if name is not None:
        spec = renamed(spec, name, "--as")
    joined = join(spec, timeout_s=_seconds(timeout) if timeout else None, workers=workers, url=storage, quiet=quiet)
    if not quiet:
        from search.results.status import finished_count

        why = {"interrupted": "Interrupted", "timeout": "Time is up"}.get(joined.reason, "Nothing is left to start here")
        click.echo(f"{why}: {finished_count(joined.study)}/{joined.budget} trials of the study are finished.")
    close(joined.study)
    return _INTERRUPTED if joined.reason == "interrupted" else 0


@cli.command()
@_STUDY
@click.option("--jobs", type=click.IntRange(min=1), required=True, help="Tasks of the job array.")
@click.option("--time", "time_limit", metavar="TIME", required=True, help="Wall time of each task (90m, 8h).")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that a task runs at a time.")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs of each task.")
@click.option("--cpus", type=click.IntRange(min=1), help="CPUs of each task.")
@click.option("--mem", "memory", metavar="SIZE", help="Memory of each task, as Slurm writes it: 16G.")
@click.option("--partition", help="Partition of the cluster.")
@click.option("--slurm", "more", metavar="KEY=VALUE", multiple=True, help="Another option of sbatch: account=lab.")
@click.option("--logs", type=click.Path(path_type=Path), help="Folder of the tasks' logs; NAME.jobs by default.")
@click.option(
    "--cluster", type=click.Choice(["slurm", "local"]), default="slurm", show_default=True, help="local: as processes here."
)
@click.option("--as", "name", metavar="NAME", help="The study's name, where it was launched with --as.")
@_STORAGE
def submit(
    study: Path,
    jobs: int,
    time_limit: str,
    workers: int,
    gpus: int | None,
    cpus: int | None,
    memory: str | None,
    partition: str | None,
    more: tuple[str, ...],
    logs: Path | None,
    cluster: "Cluster",
    name: str | None,
    storage: str | None,
) -> None:
    """Send tasks of `search worker` to Slurm as a job array (extra submitit), and return at once.

    Every task must see the current folder, the study file and this Python.
    """
    from search.driver.slurm import Resources, parse_more
    from search.driver.slurm import submit as send
    from search.storage.url import hide_password
    from search.study_file.load import renamed

    spec = _load(study)
    if name is not None:
        spec = renamed(spec, name, "--as")
    logs = logs or Path(f"{spec.name}.jobs")
    resources = Resources(_seconds(time_limit, "--time"), gpus, cpus, memory, partition, parse_more(more))
    ids = send(spec, resources, jobs=jobs, logs=logs, workers=workers, name=name, url=storage, cluster=cluster)
    where = f" --storage {hide_password(storage)}" if storage else ""
    if cluster == "slurm":
        job = ids[0].partition("_")[0]
        click.echo(f"Sent: job {job}, tasks: {jobs}. Their logs: {logs}/{job}_*")
        click.echo(f"Watch them:  squeue --job {job}")
    else:
        click.echo(f"Started here: processes {', '.join(ids)}. Their logs: {logs}")
    click.echo(f"The study:   search status {study}{f'#{name}' if name else ''}{where}")


cli.add_command(import_keras_tuner)
cli.add_command(space_from_keras_tuner)


@cli.command()
@_ANY_STUDY
@click.option("--all", "show_all", is_flag=True, help="Every trial instead of the last 20.")
@_STORAGE
def status(study: str, show_all: bool, storage: str | None) -> None:
    """Print a study as a table."""
    from search.results.status import print_status
    from search.storage.open import close, storage_errors

    opened = _open(study, storage)
    with storage_errors(opened.url):
        print_status(opened.study, budget=opened.spec.policy.trials if opened.spec else None, rows=None if show_all else 20)
    close(opened.study)


@cli.command()
@click.argument("study", metavar="STUDY.toml")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="So many of the best configs.")
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True, help="So many runs of each.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run at the same time.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors and the ranking.")
@_STORAGE
def finalists(study: str, top: int, seeds: int, workers: int, quiet: bool, storage: str | None) -> int:
    """Train the best configs and the baseline again with several seeds, and rank them.

    They become a study of their own in the same storage, NAME-finalists. ^C stops cleanly; the same command goes on.
    """
    from search.results.finalist_ranking import print_ranking
    from search.results.finalists import run_finalists
    from search.storage.open import close
    from search.storage.reference import load_named

    _quiet_optuna()
    spec = load_named(study)
    launched, ranking = run_finalists(spec, top=top, seeds=seeds, workers=workers, url=storage, quiet=quiet)
    if ranking.finalists:
        print_ranking(ranking)
    close(launched.study)
    if launched.reason != "interrupted":
        return 0
    click.echo(f"Interrupted. To go on: search finalists {study} --top {top} --seeds {seeds}")
    return _INTERRUPTED


@cli.command()
@_ANY_STUDY
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one.")
@click.option("--allow-host", "names", metavar="NAME", multiple=True, help="A further name that it is reached by: a proxy's.")
@_STORAGE
def dashboard(study: str, host: str, port: int, storage: str | None, names: tuple[str, ...]) -> None:
    """Serve optuna-dashboard for a study until ^C.

    There is no login: whoever reaches the port can read and change the studies.
    """
    from search.results.dashboard import open_for, serve

    _quiet_optuna()
    if host not in ("127.0.0.1", "localhost", "::1"):
        _say(f"Careful: there is no login, so that whoever reaches {error_line(host)} can read and change the studies.")
    serve(open_for(study, storage, _say), host, port, lambda address: click.echo(f"{address}  (^C ends it)"), names)


@cli.command()
@_ANY_STUDY
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write instead of printing.")
@click.option("--trial", type=click.IntRange(min=0), help="A trial's number instead of the best trial.")
@click.option("--by", metavar="METRIC", help="With several directions: the metric whose best is taken, or compromise.")
@_STORAGE
def export(study: str, output: Path | None, trial: int | None, by: str | None, storage: str | None) -> None:
    """Write the best trial as a TOML config with its provenance: the winner of the finalists, where there is one."""
    from search.files import write
    from search.results.export import export_trial
    from search.results.finalists import load_ranking
    from search.storage.open import close, storage_errors

    opened = _open(study, storage)
    with storage_errors(opened.url):
        ranking = load_ranking(opened.study) if trial is None and by is None else None
        document = export_trial(opened.study, opened.spec, opened.url, trial, by, ranking)
    close(opened.study)
    if ranking is not None and ranking.winner is not None:
        _say(f"trial {ranking.winner.number}, the winner of {ranking.study}: {ranking.describe_choice()}")
    if output is None:
        click.echo(document.encode(), nl=False)  # TOML is UTF-8, whatever the terminal is
    else:
        write(document, output)
        _print_written(output)


@cli.command()
@_ANY_STUDY
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="report.html", show_default=True, help="File to write."
)
@_STORAGE
def report(study: str, output: Path, storage: str | None) -> None:
    """Write a study as one HTML page that needs no network."""
    from search.files import write
    from search.results.report.page import render
    from search.storage.open import close, storage_errors
    from search.storage.snapshot import snapshot

    opened = _open(study, storage)
    with storage_errors(opened.url):
        taken = snapshot(opened.study)
    close(opened.study)
    write(render(taken), output)
    _print_written(output)


@cli.command()
@click.argument("studies", nargs=-1, metavar="[LABEL=]STUDY[,STUDY...]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Page to write, with the curves.")
def compare(studies: tuple[str, ...], output: Path | None) -> None:
    """Compare what studies found, and how soon.

    Each STUDY is a study file or sqlite:///other.db#name. Studies that differ only in their seed go under one label:

        search compare tpe=a.toml,b.toml,c.toml random=d.toml,e.toml,f.toml -o compare.html
    """
    from search.files import write
    from search.results.report.comparison import compare as compare_studies
    from search.results.report.comparison_page import print_table, render
    from search.storage.reference import read_labelled

    _quiet_optuna()
    comparison = compare_studies(read_labelled(studies))
    print_table(comparison)
    if output is not None:
        write(render(comparison), output)
        _print_written(output)


def _print_written(output: Path) -> None:
    from search.files import open_file_of

    click.echo(f"wrote {show_path(output)}", err=open_file_of(output) == 1)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _load(path: Path) -> "StudySpec":
    from search.study_file.load import load

    _quiet_optuna()
    return load(path)


def _open(study: str, storage: str | None) -> "Opened":
    from search.storage.reference import open_reference

    _quiet_optuna()
    return open_reference(study, storage)


def _quiet_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines for each trial would tear the live view
    # Whoever made a study with lists as choices has read this.
    warnings.filterwarnings("ignore", "Choices for a categorical distribution should be", UserWarning)


def _seconds(text: str, option: str = "--timeout") -> float:
    from pydantic_core import PydanticCustomError

    from search.study_file.rule_errors import phrase
    from search.study_file.units import parse_duration

    try:
        return float(parse_duration(text))
    except PydanticCustomError as error:
        raise SearchError(phrase(error, option)) from None


def _print_end(launched: "Launched", arguments: str, reference: str) -> None:
    """Prints why the launch ended, the best trial and what to type next: after ``search launch``, and after other commands."""
    from search.results.status import describe_best, finished_count

    done = f"{finished_count(launched.study)}/{launched.budget} trials"
    again = f"search launch {arguments}"
    ends: dict[str, str] = {
        "budget": f"Budget reached: {done}.",
        "timeout": f"Time is up: {done}. To go on: {again}",
        "reports": f"All reports are used up (max_reports): {done}. To go on, raise it, and: {again}",
        "device_time": f"All device time is used up (max_device_time): {done}. To go on, raise it, and: {again}",
        "patience": f"No better trial for a while (patience): {done}. To go on, raise it, and: {again}",
        "grid": f"Every config was tried: {done}.",
        "interrupted": f"Interrupted: {done}. To go on: {again}",
    }
    if launched.retried:
        click.echo(f"Lost by a driver that died, and taken up again: trials {', '.join(map(str, launched.retried))}.")
    click.echo(ends[launched.reason])
    best = describe_best(launched.study)
    if best:
        click.echo(best)
        click.echo(f"Look at it:  search dashboard {reference}")
        click.echo(f"Export it:   search export {reference} -o best.toml")
