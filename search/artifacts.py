"""Files that an objective leaves with its trial: where they lie, and how they get there."""

import tempfile
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from search.messages import Artifact
from search.storage import folder, storage_file


def artifact_folder(url: str) -> Path:
    """Returns the folder of a storage's artifacts, which need not be there: one for all studies, as a dashboard shows all."""
    path = storage_file(url)
    return path.with_suffix(".artifacts") if path is not None else folder(url) / "artifacts"


def keep(artifact: Artifact, trial: optuna.Trial, store: Path) -> None:
    """Copies what an objective sent into the folder, and enters it with the trial as Optuna does."""
    store.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / artifact.filename  # its name becomes the artifact's
        path.write_bytes(artifact.content)
        upload_artifact(artifact_store=FileSystemArtifactStore(store), file_path=str(path), study_or_trial=trial)
