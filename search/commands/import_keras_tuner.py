"""``search import-keras-tuner``: import a KerasTuner project as a study."""

import shlex
from itertools import islice
from pathlib import Path

import click

from search.commands.shared import quiet_optuna
from search.errors import StudyError
from search.text import error_line, plain

_MOST_LINES = 20


@click.command("import-keras-tuner")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--storage", metavar="URL", help="Storage to import into; sqlite:///NAME.db by default.")
@click.option("--study", "name", metavar="NAME", help="The study's name; the folder's by default.")
@click.option(
    "--objective",
    "objectives",
    metavar="NAME:min|max",
    multiple=True,
    help="Metric to take as the value; several times for several values. Found from the scores by default.",
)
def command(folder: Path, storage: str | None, name: str | None, objectives: tuple[str, ...]) -> None:
    """Import a KerasTuner project as a study.

    DIR holds oracle.json and the folders trial_*. Nothing in it is run. Importing it again adds what is new since.
    """
    from search.driver.ownership import claimed
    from search.keras_tuner.importing import import_project
    from search.keras_tuner.objective import find_objective, parse_objective
    from search.keras_tuner.project import read_project
    from search.records.attributes import file_of
    from search.results.ranking import describe_best
    from search.storage.errors import storage_errors
    from search.storage.open import close, create_study, name_metrics, read_back
    from search.storage.url import hide_password
    from search.text import show

    quiet_optuna()
    project = read_project(folder)
    wanted = [parse_objective(text) for text in objectives] or [find_objective(project)]
    name = name or folder.resolve().name
    if storage is None and (not name or name != plain(name, 100) or set("/?#%") & set(name)):
        raise StudyError(f"{folder}: a file cannot be named after it; got the name {show(name)}. Add --study and --storage.")
    url = storage or f"sqlite:///{name}.db"
    directions, metrics = [objective.direction for objective in wanted], [objective.name for objective in wanted]
    study = create_study(url, name, directions, metrics)
    with storage_errors(url):
        there = [direction.name.lower() for direction in study.directions]
        if there != directions:
            raise StudyError(
                f'{hide_password(url)}: study "{name}" must {" and ".join(directions)}; '
                f"got one that does {' and '.join(there)}. Add --study with another name."
            )
        if study.metric_names not in (None, metrics) and file_of(study) is None:  # a launch has named what it goes on with
            raise StudyError(
                f'{hide_password(url)}: study "{name}" must have the values of {", ".join(metrics)}; '
                f"got those of {', '.join(map(plain, study.metric_names))}. Add --study with another name."
            )
        with claimed(study), read_back(study, url, resumes=False).watching():
            imported = import_project(project, study, wanted)
            if study.metric_names is None:
                name_metrics(study, metrics)
        best = describe_best(study)
    close(study)
    states = ", ".join(f"{count} {state.name.lower()}" for state, count in imported.added.items())
    counts = {"added": states, "known": imported.known, "finished since": imported.finished}
    done = "; ".join(f"{count} {what}" for what, count in counts.items() if count)
    click.echo(f"{project.tuner}, {len(project.trials)} trials: {done}.")
    for line in islice(project.unread.values(), _MOST_LINES):
        click.echo(f"Left out: {error_line(line)}")
    if len(project.unread) > _MOST_LINES:
        click.echo(f"Left out: {len(project.unread) - _MOST_LINES} more files of trials.")
    if best:
        click.echo(best)
    click.echo(f"Look at it:  search dashboard {shlex.quote(f'{hide_password(url)}#{name}')}")
