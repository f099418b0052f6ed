"""What a storage says becomes part of paths: whatever somebody wrote there, nothing outside a study's folders is touched."""

import json
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial

from search.errors import StorageError
from search.optuna_internals import ARTIFACTS_ATTR_PREFIX, storage_of, study_id_of
from search.records.attributes import RETRY_KEY, TOKEN_KEY
from search.results.tracking.projection import trial_run
from search.storage.errors import storage_errors
from search.storage.folders import artifacts_of, checkpoint_folder, delete_checkpoints
from search.storage.open import close, create_study, read_back, token_of

URLS = ["sqlite:///demo.db", "journal:///demo.log"]
PLANTED = [
    *("/../../victim", "x/../../../victim", "../victim", "..", ".", "", "a\0b", "x/../../../victim\0", "a b", "\n"),
    *("0123456789abcdeF", "0123456789abcde", "0123456789abcdef0", "0123456789abcdef\n", "٠١٢٣٤٥٦٧٨٩abcdef"),
    *(3, 0.5, None, True, [], ["0123456789abcdef"], {"a": "b"}),
]


@pytest.fixture
def victim(folder):
    """A folder beside the study, with all that a checkpoint's or an artifact's path could end in."""
    for name in ("victim", "demo-/victim", "demo.checkpoints/demo-x"):
        Path(name, "trial-0").mkdir(parents=True)
        Path(name, "trial-0", "kept").touch()
    return folder.absolute()


def outside():
    return sorted(path for path in Path().rglob("*") if "demo.db" not in path.name and "demo.log" not in path.name)


def planted_study(url):
    study = create_study(url, "demo", ["maximize"], [])
    study.add_trial(create_trial(value=1.0))
    return study


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("planted", [*PLANTED, "{victim}"])
def test_a_token_is_one_of_ours_or_replaced(url, planted, victim):
    study = planted_study(url)
    text = str(victim / "victim") if planted == "{victim}" else planted
    storage_of(study).set_study_system_attr(study_id_of(study), TOKEN_KEY, text)
    assert token_of(study) is None
    read_back(study, url).check()
    before = outside()
    base = checkpoint_folder(url, study)
    assert base == Path("demo.checkpoints") / f"demo-{token_of(study)}"
    assert len(token_of(study)) == 16
    (base / "trial-0").mkdir(parents=True)
    delete_checkpoints(study.trials[0], base)
    assert outside() == before
    close(study)


@pytest.mark.parametrize("url", URLS)
def test_a_token_of_ours_stays(url):
    study = planted_study(url)
    storage_of(study).set_study_system_attr(study_id_of(study), TOKEN_KEY, "0123456789abcdef")
    read_back(study, url)
    assert token_of(study) == "0123456789abcdef"
    close(study)


@pytest.mark.parametrize("name", ["../victim", "/victim", "a/../../victim", "..", "a\0b", "a/b"])
def test_the_name_of_a_study_is_one_part_of_a_path(name, victim):
    folder = checkpoint_folder("sqlite:///demo.db", optuna.create_study(study_name=name))
    assert folder.parent == Path("demo.checkpoints")
    assert "\0" not in folder.name
    assert folder.name not in (".", "..")


@pytest.mark.parametrize("planted", PLANTED)
def test_a_retry_is_of_a_trial_before_it(planted, victim):
    trial = create_trial(value=1.0, user_attrs={RETRY_KEY: planted})
    trial.number = 1
    before = outside()
    delete_checkpoints(trial, Path("demo.checkpoints/demo-0123456789abcdef"))
    assert outside() == before


@pytest.mark.parametrize("planted", ["/../../victim", "1/../../../victim", "..", "a"])
def test_the_number_of_a_trial_is_a_number(planted, folder):
    close(planted_study("sqlite:///demo.db"))
    connection = sqlite3.connect("demo.db")
    connection.execute("UPDATE trials SET number = ?", (planted,))  # SQLite takes any text where a number is to be
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="a trial's number is none"), storage_errors("sqlite:///demo.db"):
        create_study("sqlite:///demo.db", "demo", ["maximize"], [])


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("key", ["artifact_id", "filename"])
def test_an_artifact_lies_in_its_folder_and_goes_by_the_name_of_a_file(key, planted, victim):
    store = Path("demo.artifacts")
    store.mkdir()
    (store / "0-1").touch()
    meta = {"artifact_id": "0-1", "filename": "a.png", "mimetype": "image/png", "encoding": None, key: planted}
    study = optuna.create_study()
    study.add_trial(create_trial(value=1.0, system_attrs={f"{ARTIFACTS_ATTR_PREFIX}0": json.dumps(meta)}))
    for found, path in artifacts_of(study, study.trials[0], store):
        assert path.parent == store
        assert path.name == found.artifact_id
    for name, path in trial_run(study, study.trials[0], store, ["score"]).files.items():
        assert path == store / "0-1"
        assert (victim / name).parent == (victim / name).resolve().parent == victim
        assert name
