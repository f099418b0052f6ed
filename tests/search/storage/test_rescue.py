"""What is written of a study whose storage is lost, whatever that had made of its trials by then."""

import errno
import io
import os
import re
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.errors import StorageError
from search.optuna_internals import storage_of, study_id_of, trial_id_of
from search.records.attributes import FINGERPRINT_KEY
from search.storage.folders import artifact_folder, checkpoint_folder
from search.storage.open import close, create_study, open_study, read_back
from search.storage.reference import split_name
from search.storage.rescue import Frame, rescue
from search.storage.trial_ends import Known
from search.storage.url import file_url, storage_file

COMPLETE, FAIL, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING


def half_deleted() -> FrozenTrial:
    """A trial of which the rows with its values were deleted before the trial itself was."""
    trial = create_trial(state=COMPLETE, value=1.0)
    trial.values = None
    return trial


@pytest.mark.parametrize(
    ("trial", "told", "saved"),
    [
        (create_trial(state=COMPLETE, value=1.0), (COMPLETE, (1.0,)), (COMPLETE, 1.0)),
        (create_trial(state=COMPLETE, value=1.0), (COMPLETE, (2.0,)), (COMPLETE, 1.0)),
        (create_trial(state=RUNNING), (COMPLETE, (2.0,)), (COMPLETE, 2.0)),
        (create_trial(state=RUNNING), (PRUNED, ()), (PRUNED, None)),
        (create_trial(state=RUNNING), None, (RUNNING, None)),
        (create_trial(state=FAIL), (COMPLETE, (2.0,)), (FAIL, None)),
        (half_deleted(), (COMPLETE, (3.0,)), (COMPLETE, 3.0)),
        (half_deleted(), None, (FAIL, None)),
    ],
    ids=[
        "confirmed",
        "ended alike by another driver",
        "told",
        "pruned",
        "runs",
        "ended by another driver",
        "values deleted",
        "and never told",
    ],
)
def test_a_trial_ends_as_it_was_told(tmp_path, trial, told, saved):
    known = Known([trial], {trial_id_of(trial): told} if told else {})
    path = rescue(Frame("lost", [StudyDirection.MINIMIZE], {}), known, "lost", tmp_path)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    [found] = optuna.load_study(study_name="lost", storage=optuna.storages.JournalStorage(backend)).trials
    assert (found.state, found.value) == saved


@pytest.mark.parametrize("told", [(COMPLETE, (2.0,)), None])
def test_a_trial_whose_end_was_told_is_missed_until_the_storage_has_it(told):
    trial = create_trial(state=RUNNING)
    known = Known([trial], {trial_id_of(trial): told} if told else {})
    assert known.ends() == {trial.number: told or (RUNNING, ())}


def lose(url):
    """A study whose file is removed once this process has written to it: its checkpoints, and the URL that is named."""
    study = create_study(url, "demo", ["maximize"], [])
    readback = read_back(study, url)
    study.add_trial(create_trial(value=1.0))
    study.set_user_attr(FINGERPRINT_KEY, {"data": "abc"})
    checkpoints = checkpoint_folder(url, study)
    storage_file(url).unlink()
    with pytest.raises(StorageError) as caught:
        readback.poll()
    saved, name = split_name(re.search("search status '([^']*)'", str(caught.value)).group(1))
    assert name == "demo"
    assert f"--storage '{saved}'" in str(caught.value)
    close(study)
    return checkpoints, saved


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.log"])
def test_what_was_saved_is_the_whole_study(url):
    """Also what the launch wrote of it since it began, and what lies beside it; and it is saved again under the first name."""
    checkpoints, saved = lose(url)
    found = open_study(saved, "demo")
    assert found.user_attrs == {FINGERPRINT_KEY: {"data": "abc"}}
    assert artifact_folder(saved) == artifact_folder(url) == Path("demo.artifacts")
    assert checkpoint_folder(saved, found) == checkpoints
    close(found)
    assert lose(saved)[1] == "journal:///demo.rescued.log"


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_the_command_that_is_named_finds_it_whatever_the_folder_is_called(folder, kind):
    place = folder / "50%25 #1? it's"
    place.mkdir()
    _, saved = lose(file_url(kind, place / "demo.db"))
    found = open_study(saved, "demo")
    assert len(found.trials) == 1
    assert (place / "demo.rescued.log").exists()
    close(found)


def test_what_was_saved_before_is_never_written_over(tmp_path):
    frame = Frame("lost", [StudyDirection.MINIMIZE], {})
    saved = [rescue(frame, Known([]), "lost", tmp_path) for _ in range(3)]
    assert saved == [tmp_path / f"lost.rescued{mark}.log" for mark in ("", "-2", "-3")]


def test_where_a_disk_is_full_no_half_of_a_file_is_left_and_another_folder_has_it(folder, monkeypatch):
    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full = folder / "full"
    full.mkdir()
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, "x") if path.parent == full else real(path, mode))
    path = rescue(Frame("lost", [StudyDirection.MINIMIZE], {}), Known([]), "lost", full)
    assert path == folder / "lost.rescued.log"
    assert list(full.iterdir()) == []


def test_the_storages_folder_has_it_where_there_is_none_for_temporary_files(tmp_path, no_temporary_folder):
    (tmp_path / "store").mkdir()
    frame = Frame("lost", [StudyDirection.MINIMIZE], {})
    assert rescue(frame, Known([]), "lost", tmp_path / "store") == tmp_path / "store" / "lost.rescued.log"
    assert rescue(frame, Known([]), "lost", tmp_path / "gone") == Path.cwd() / "lost.rescued.log"


def test_parents_that_were_chosen_by_the_ids_of_another_file_are_chosen_anew():
    study = create_study("sqlite:///demo.db", "demo", ["maximize"], ["score"])
    storage_of(study).set_study_system_attr(study_id_of(study), "NSGAIISampler:parent:1", [1])
    path = rescue(Frame.of(study), Known([]), "demo", Path())
    close(study)
    found = open_study(file_url("journal", path), "demo")
    assert (found.metric_names, list(storage_of(found).get_study_system_attrs(study_id_of(found)))) == (
        ["score"],
        ["study:metric_names"],
    )
