import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from search.errors import StudyError
from search.optuna_internals import study_id_of
from search.records.attributes import WARM_KEY
from search.storage.reference import as_typed, open_reference, read_labelled, split_name

URL = "sqlite:///any.db"


@pytest.fixture
def studies():
    for name in ("one", "two # 2"):
        optuna.create_study(storage=URL, study_name=name)


def test_a_study_file(write, studies):
    path = write(study={"name": '"one"', "storage": f'"{URL}"'})
    opened = open_reference(str(path))
    assert (opened.study.study_name, opened.url, opened.spec.path) == ("one", URL, path)
    assert open_reference(str(path), storage="sqlite:///./any.db").url == "sqlite:///./any.db"


@pytest.mark.parametrize("name", ["one", "two # 2"])
def test_a_url_and_a_name(studies, name):
    opened = open_reference(f"{URL}#{name}")
    assert (opened.study.study_name, opened.url, opened.spec) == (name, URL, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:////data/x.db#two # 2", ("sqlite:////data/x.db", "two # 2")),
        ("postgresql://u:a#b@host/x#one", ("postgresql://u:a#b@host/x", "one")),
        ("mysql://host/x", ("mysql://host/x", "")),
    ],
)
def test_the_name_is_not_looked_for_in_a_password(text, expected):
    assert split_name(text) == expected


def test_the_only_study_of_a_storage_needs_no_name(studies):
    optuna.delete_study(storage=URL, study_name="two # 2")
    assert open_reference(URL).study.study_name == "one"


@pytest.mark.parametrize(
    ("text", "storage", "message"),
    [
        (URL, None, "sqlite:///any.db: needs the name of one of its 2 studies; got one, two # 2. Add it after a #"),
        (f"{URL}#three", None, 'holds no study "three"'),
        ("sqlite:///none.db#one", None, "got no such file"),
        (f"{URL}#one", URL, "--storage goes with a study file"),
    ],
)
def test_what_cannot_be_opened(studies, text, storage, message):
    with pytest.raises(StudyError, match=message):
        open_reference(text, storage)


def test_sides_of_a_comparison(studies):
    one, two = f"{URL}#one", f"{URL}#two # 2"
    optuna.create_study(storage=URL, study_name="three")
    sides = read_labelled([f"both={one},{two}", f"{URL}#three"])
    assert [(label, [study.study_name for study in group]) for label, group in sides] == [
        ("both", ["one", "two # 2"]),
        ("three", ["three"]),
    ]


def test_studies_of_one_name_are_called_by_their_place_too(studies, tmp_path):
    other = f"sqlite:///{tmp_path / 'other.db'}"
    optuna.create_study(study_name="one", storage=other)
    labels = [label for label, _ in read_labelled([f"{URL}#one", f"{other}#one", f"{URL}#two # 2"])]
    assert labels == [f"one in {URL}", f"one in {other}", "two # 2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database of two studies with trials of their own, and what a warm start and copies made of the first."""
    with contextlib.chdir(tmp_path_factory.mktemp("made")):
        _make()
        return Path("any.db").resolve()


@pytest.fixture
def run(made, folder):
    """Its studies."""
    shutil.copy(made, "any.db")


def _make():
    for name in ("a", "b"):
        study = optuna.create_study(storage=URL, study_name=name)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    for name in ("earlier", "gone on"):
        optuna.copy_study(from_study_name="a", from_storage=URL, to_storage=URL, to_study_name=name)
    for name in ("a", "gone on"):
        study = optuna.load_study(storage=URL, study_name=name)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    warm = optuna.create_study(storage=URL, study_name="warm")
    for trial in optuna.load_study(storage=URL, study_name="a").trials:
        trial.set_user_attr(WARM_KEY, {"study": "a", "trial": trial.number, "compared": True})
        warm.add_trial(trial)
    warm.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        ((f"L={URL}#a,{URL}#a", f"{URL}#b"), "L"),
        ((f"L={URL}#a,a.toml", f"{URL}#b"), "L"),
        (("L=a.toml,a.toml", f"{URL}#b"), "L"),
        ((f"L={URL}#a,sqlite:///./any.db#a", f"{URL}#b"), "L"),
        ((f"L={URL}#a,sqlite:///copy.db#a", f"{URL}#b"), "L"),
        ((f"L={URL}#a,{URL}#earlier", f"{URL}#b"), "L"),
        ((f"L={URL}#a,{URL}#b", f"M={URL}#b"), "M"),
        ((f"L={URL}#a", "a.toml"), "a"),
        ((f"{URL}#a", f"{URL}#a"), "a"),
    ],
)
def test_a_study_counts_once_whatever_it_is_called(run, write, arguments, label):
    write("a.toml", study={"name": '"a"', "storage": f'"{URL}"'})
    shutil.copy("any.db", "copy.db")
    with pytest.raises(StudyError, match=rf'^{label}: each study counts once; got study "\w+" twice, or a copy of it\. Leave'):
        read_labelled(arguments)


def test_what_began_with_the_same_trials_and_went_on_is_two(run):
    assert len(read_labelled([f"{URL}#a", f"{URL}#gone on", f"{URL}#b", f"{URL}#warm"])) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "compare: needs at least two studies or labels; got 0"),
        ((f"a={URL}#one",), "got 1"),
        (("a=", f"{URL}#one"), "a=: a label needs studies; got none. Write a=STUDY,STUDY."),
        ((f"{URL}#one", f"{URL}#one"), "one in sqlite:///any.db: each study or label must have its own name; got it twice"),
        ((f"{URL}#one", "sqlite:///a=b.db"), "got no such file"),
    ],
)
def test_sides_that_cannot_be_opened(studies, arguments, message):
    with pytest.raises(StudyError, match=message):
        read_labelled(arguments)


@pytest.mark.parametrize("name", ["one", "two # 2", "50%"])
@pytest.mark.parametrize("place", [".", "a folder", "it's #1"])
def test_what_names_a_study_in_a_message_can_be_typed_again(write, studies, name, place):
    Path(place).mkdir(exist_ok=True)
    path = write(f"{place}/demo.toml", study={"name": '"demo"', "storage": f'"sqlite:///{Path.cwd()}/any.db"'})
    for other in ("wider", "50%"):
        optuna.copy_study(from_study_name="one", from_storage=URL, to_storage=URL, to_study_name=other)
    for text, storage in (f"{URL}#{name}", None), (f"{path}#wider", None), (f"{path}#wider", "sqlite:///./any.db"):
        opened = open_reference(text, storage)
        program = "import json, sys; print(json.dumps(sys.argv[1:]))"
        done = subprocess.run(f"{sys.executable} -c '{program}' {opened.typed}", shell=True, capture_output=True, check=True)
        again, *options = json.loads(done.stdout)
        assert options == ([] if storage is None else ["--storage", storage])
        assert study_id_of(open_reference(again, storage).study) == study_id_of(opened.study)


def test_no_password_is_typed_again():
    assert as_typed("a b.toml", "--as", "x", storage="mysql://me:secret@host/db") == (
        "'a b.toml' --as x --storage 'mysql://me:***@host/db'"
    )
    assert as_typed("mysql://me:secret@host/db#one") == "'mysql://me:***@host/db#one'"
