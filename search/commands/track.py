"""``search track``: send a study to MLflow or TensorBoard: what is missing there, and nothing twice."""

from pathlib import Path

import click

from search.commands.shared import ANY_STUDY, STORAGE, open_any
from search.errors import StudyError, StudyFileError


@click.command("track")
@ANY_STUDY
@click.option("--mlflow", metavar="URI", help="MLflow's server or database, instead of the study file's.")
@click.option("--tensorboard", metavar="DIR", help="Folder of TensorBoard's event files, instead of the study file's.")
@STORAGE
def command(study: str, mlflow: str | None, tensorboard: str | None, storage: str | None) -> None:
    """Send a study to MLflow or TensorBoard: what is missing there, and nothing twice.

    Any study will do, also one of plain Optuna. `search launch` does the same while it runs, where the study file has a
    [track] table.
    """
    from pydantic import ValidationError
    from pydantic_core import PydanticCustomError

    from search.results.tracking.sync import Sync, trackers_of
    from search.results.tracking.turn import Turn
    from search.storage.errors import remedy
    from search.storage.folders import artifact_folder
    from search.storage.url import location
    from search.study_file.rule_errors import explain, format_error
    from search.study_file.track import Track, TrackTable, check_installed

    with open_any(study, storage) as opened:
        track: Track | None = opened.spec.track if opened.spec is not None else None
        try:
            if mlflow is not None or tensorboard is not None:
                track = TrackTable(mlflow=mlflow, tensorboard=tensorboard).track(Path(), opened.url)
            if track is None:
                rule = "must have a [track] table" if opened.spec is not None else "must be sent somewhere"
                raise StudyFileError(f"{study}: {rule}; got none. Add --mlflow URI or --tensorboard DIR.")
            check_installed(track)
        except ValidationError as error:
            raise StudyFileError(*(f"--{line}" for line in explain(error, {}))) from None
        except PydanticCustomError as error:
            raise StudyFileError(f"{study}: {format_error(error, 'track')}") from None
        turn = Turn(opened.study, opened.url)
        if not turn.take():
            raise StudyError(f"{study}: another process must not send it now; got one that does. Wait until the launch ends.")
        lacking = []
        for tracker in trackers_of(track):
            done = Sync(tracker, artifact_folder(opened.url), location=location(opened.url)).send(opened.study)
            click.echo(f"{done.name} got {done.sent} trial{'s' * (done.sent != 1)} that it lacked.")
            if done.missing or done.reason:
                then = remedy(done.reason, "Try again.")
                lacking.append(f"{done.name} lacks {done.missing} trials; got: {done.reason.rstrip('.')}. {then}")
        turn.end()
    if lacking:
        raise StudyError(*lacking)
