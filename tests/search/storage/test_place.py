"""One study, from whatever folder it is launched, shown or exported."""

import os
import tomllib
from pathlib import Path

import pytest

from search.errors import StudyFileError
from search.storage.open import close, create_study
from search.storage.place import open_launched, url_of
from search.study_file.load import load


@pytest.fixture
def spec(write):
    """A study file in a folder of its own, as seen from the folder above."""
    Path("studies").mkdir()
    return load(write("studies/demo.toml"))


def begin(url):
    close(create_study(url, "demo", ["maximize"], []))


def test_a_relative_storage_lies_beside_the_file(spec, monkeypatch):
    said = []
    assert url_of(spec, None, said.append) == "sqlite:///studies/demo.db"
    assert said == ["Study demo lies beside its file, in studies/demo.db."]
    assert url_of(spec, "sqlite:///mine.db", said.append) == "sqlite:///mine.db"
    monkeypatch.chdir("studies")
    assert url_of(load("demo.toml"), None, said.append) == "sqlite:///demo.db"
    assert len(said) == 1


def test_a_file_that_was_read_means_the_same_once_the_current_folder_is_another(write, monkeypatch):
    """A notebook that reads the file, and changes to a folder for what it writes."""
    here = Path.cwd()
    for name in ("studies", "elsewhere"):
        Path(name).mkdir()
    beside, below = (load(write(file)) for file in ("demo.toml", "studies/demo.toml"))
    begin("sqlite:///demo.db")
    monkeypatch.chdir("elsewhere")
    said = []
    assert url_of(beside, None, said.append) == f"sqlite:///{here}/demo.db"
    assert said == [f"Study demo lies beside its file, in {here}/demo.db."]
    assert open_launched(beside)[0].study_name == "demo"
    assert url_of(below) == f"sqlite:///{here}/studies/demo.db"
    assert beside.whole_path == here / "demo.toml", "which an export names"
    monkeypatch.chdir("../studies")
    assert url_of(below) == "sqlite:///demo.db"
    assert str(below.path) == "studies/demo.toml", "as it was typed, for messages"
    assert list((here / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(("there", "another"), [(["demo.db"], True), (["demo.db", "studies/demo.db"], False), ([], False)])
def test_a_study_of_that_name_in_the_current_folder_is_another(spec, there, another):
    for path in there:
        begin(f"sqlite:///{path}")
    said = []
    assert url_of(spec, None, said.append) == "sqlite:///studies/demo.db"
    here = f" Another of that name lies in this folder; to mean that one, add --storage sqlite:///{Path.cwd()}/demo.db."
    assert said == [f"Study demo lies beside its file, in studies/demo.db.{here if another else ''}"]


def test_a_database_of_that_name_without_the_study_is_not_spoken_of(spec):
    close(create_study("sqlite:///demo.db", "other", ["maximize"], []))
    said = []
    assert url_of(spec, None, said.append) == "sqlite:///studies/demo.db"
    assert said == ["Study demo lies beside its file, in studies/demo.db."]


ASKED = [
    ("status",),
    ("export", "-o", "out.toml"),
    ("report", "-o", "out.html"),
    ("finalists", "--top", "1", "--seeds", "2"),
    ("references",),
    ("dashboard",),
    ("compare", "demo.toml"),
    ("launch", "--warm-start", "../two/demo.toml"),
]


@pytest.fixture
def twins(write, monkeypatch):
    """Two projects, each with a study of its own called demo; in the current one it has two trials, in the other none."""
    for folder in ("one", "two"):
        Path(folder).mkdir()
        write(f"{folder}/demo.toml", study={"trials": "2"})
    monkeypatch.chdir("one")
    begin("sqlite:///demo.db")


@pytest.mark.parametrize("words", ASKED, ids=lambda words: words[0])
def test_no_command_takes_the_study_of_this_folder_for_the_one_that_is_asked_for(twins, search, words):
    command, *options = words
    asked = "demo.toml" if command == "launch" else "../two/demo.toml"
    refused = search(command, asked, *options, code=1).stderr
    assert "sqlite:///../two/demo.db: the study must have been launched; got no such file. Run search launch first." in refused
    assert f"to mean that one, add --storage sqlite:///{Path.cwd()}/demo.db." in refused
    assert not list(Path().glob("out.*"))


def test_a_launch_begins_its_own_study_and_says_where_another_lies(twins, search, read_study):
    said = search("launch", "../two/demo.toml").stdout
    assert "Study demo lies beside its file, in ../two/demo.db. Another of that name lies in this folder; " in said
    assert len(read_study("demo", "sqlite:///../two/demo.db").trials) == 2
    assert read_study("demo", "sqlite:///demo.db").trials == []
    here = f"sqlite:///{Path.cwd()}/demo.db"
    assert "0/2 trials" in search("status", "../two/demo.toml", "--storage", here).stdout


def test_absolute_paths_and_servers_stay_as_they_are(write):
    Path("studies").mkdir()
    for storage in ("sqlite:////data/a.db", "postgresql://me@host/db"):
        assert url_of(load(write("studies/demo.toml", study={"storage": f'"{storage}"'}))) == storage


def test_every_command_finds_the_same_study(write, search):
    Path("studies").mkdir()
    write("studies/demo.toml", study={"trials": "2"})
    assert "Study demo lies beside its file, in studies/demo.db.\n" in search("launch", "studies/demo.toml").stdout
    assert not Path("demo.db").exists()
    assert "2/2 trials finished" in search("status", "studies/demo.toml").stdout
    search("report", "studies/demo.toml", "-o", "report.html")
    search("export", "studies/demo.toml", "-o", "best.toml")
    provenance = tomllib.loads(Path("best.toml").read_text())["provenance"]
    assert provenance["study_file"] == os.path.abspath("studies/demo.toml")
    assert provenance["storage"] == f"sqlite:///{os.path.abspath('studies/demo.db')}"
    assert "2/2 trials" in search("launch", "studies/demo.toml").stdout


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_folder_whose_name_is_no_utf8_is_one_like_any_other(write, search_process, monkeypatch, storage):
    place = os.fsdecode(b"caf\xe9 50%25 #1")
    Path(place).mkdir()
    write(f"{place}/demo.toml", study={"trials": "2", "storage": f'"{storage}"'})
    said = search_process("launch", f"{place}/demo.toml").stdout
    assert "2/2 trials" in said
    assert "caf\\xe9" in said
    assert (Path(place) / Path(storage).name).exists()
    assert "2/2 trials finished" in search_process("status", f"{place}/demo.toml").stdout
    search_process("export", f"{place}/demo.toml", "-o", "best.toml")
    assert "caf%E9 50%2525 %231/demo" in tomllib.loads(Path("best.toml").read_text())["provenance"]["storage"]
    monkeypatch.chdir(place)
    assert "2 trials finished" in search_process("status", storage + "#demo").stdout


@pytest.mark.parametrize("storage", ["sqlite:///demo.db", "journal:///demo.log"])
def test_a_folder_whose_name_has_a_line_break_is_refused_before_a_study_begins(write, search, monkeypatch, storage):
    place = Path("two\nlines")
    place.mkdir()
    write(place / "demo.toml", study={"storage": f'"{storage}"'})
    refused = search("launch", place / "demo.toml", code=1).stderr
    assert f"got 'two\\nlines/{Path(storage).name}'. Rename the folder." in refused
    monkeypatch.chdir(place)
    refused = search("launch", "demo.toml", code=1).stderr
    assert f"\\nlines/{Path(storage).name}'. Rename the folder." in refused
    assert [path.name for path in Path().iterdir()] == ["demo.toml"]


def test_a_database_of_mlflow_in_such_a_folder_is_refused_in_one_line(write):
    place = os.fsdecode(b"caf\xe9")
    Path(place).mkdir()
    with pytest.raises(StudyFileError, match="must lie in a folder whose name is UTF-8, as MLflow knows no other"):
        load(write(f"{place}/demo.toml", track={"mlflow": '"sqlite:///mlflow.db"'}))
