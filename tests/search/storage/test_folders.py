"""Files of trials, from the objective through the driver to what Optuna's own functions find."""

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta

from search.driver.driver import Driver
from search.driver.ownership import Owner
from search.driver.progress import Progress
from search.driver.views import QuietView
from search.storage.folders import artifact_folder
from search.study_file.load import load
from search.workers.pool import WorkerPool
from search.workers.process import WorkerSetup
from search.workers.protocol import Artifact, RunTrial
from search.workers.trial import MAX_ARTIFACT_BYTES, WorkerTrial
from tests.inline import InlineExecutor


@pytest.fixture
def drive(write):
    def run(folder, **objective):
        spec = load(write(study={"objective": '"objectives:leave_files"', "trials": "2"}, objective=objective))
        study = optuna.create_study(direction="maximize")
        executor = InlineExecutor(lambda worker: WorkerSetup(spec.target, spec.settings))
        view = QuietView(Progress.of(study, 2), None)
        Driver(study, spec, WorkerPool(executor, 1, spec.policy), Owner.current(), view, artifacts=folder).run()
        return study

    return run


def test_optuna_finds_what_the_objective_left(drive):
    study = drive(Path("demo.artifacts"), size="100000")
    store = FileSystemArtifactStore("demo.artifacts")
    for trial in study.trials:
        found = {meta.filename: meta for meta in get_all_artifact_meta(trial, storage=study._storage)}
        assert {name: meta.mimetype for name, meta in found.items()} == {"curve.svg": "image/svg+xml", "table.csv": "text/csv"}
        download_artifact(artifact_store=store, artifact_id=found["table.csv"].artifact_id, file_path="copy")
        assert Path("copy").read_text() == f"trial,{trial.number}\n"
        download_artifact(artifact_store=store, artifact_id=found["curve.svg"].artifact_id, file_path="copy.svg")
        assert Path("copy.svg").stat().st_size == 100_000
        Path("copy").unlink()
        Path("copy.svg").unlink()


def test_without_a_folder_files_are_let_go(drive):
    study = drive(None)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert get_all_artifact_meta(study.trials[0], storage=study._storage) == []


@pytest.mark.parametrize("name", ['""', '"a/b.svg"', '"../b.svg"'])
def test_a_name_with_a_folder_fails_the_trial(name, drive):
    with pytest.raises(Exception, match="must be a file's, without a folder"):
        drive(Path("demo.artifacts"), name=name)


def test_what_is_too_large_is_refused():
    told_ends = []
    trial = WorkerTrial(RunTrial(0, {}, {}), ask=None, tell=told_ends.append)
    trial.upload_artifact("fits.bin", bytes(MAX_ARTIFACT_BYTES))
    with pytest.raises(ValueError, match=r"large\.bin must have at most 16,777,216 bytes; got 16,777,217"):
        trial.upload_artifact("large.bin", bytes(MAX_ARTIFACT_BYTES + 1))
    assert [type(message) for message in told_ends] == [Artifact]


def test_the_folder_lies_beside_the_storage():
    assert artifact_folder("sqlite:///runs/demo.db") == Path("runs/demo.artifacts")
    assert artifact_folder("postgresql://host/db") == Path("artifacts")
