"""What a command says of a study is of one moment, whoever writes to the study meanwhile."""

import json
import re
import shutil
import tomllib

import optuna
import pytest

from search.storage.cache import OwnTrialsStorage
from search.storage.open import close, create_study

URL = "sqlite:///demo.db#demo"
COMPLETE, RUNNING = 24, 6


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A study with trials that run, and a second one."""
    path = tmp_path_factory.mktemp("made") / "demo.db"
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for name, count in (("demo", COMPLETE), ("second", 1)):
        study = create_study(f"sqlite:///{path}", name, ["maximize"], ["value"])
        for number in range(count):
            study.tell(study.ask(space), float(number))
        for _ in range(RUNNING):
            study.ask(space)
        close(study)
    return path


@pytest.fixture
def reads(database, folder, monkeypatch):
    """Sees to it that each look at the trials ends one that ran, better than all before; counts the looks."""
    shutil.copy(database, "demo.db")
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    seen = []
    read = OwnTrialsStorage.get_all_trials

    def read_and_end(storage, *args, **options):
        trials = read(storage, *args, **options)
        seen.append(len(trials))
        study.tell(COMPLETE + len(seen) - 1, float(COMPLETE + len(seen)))
        return trials

    monkeypatch.setattr(OwnTrialsStorage, "get_all_trials", read_and_end)
    return seen


def test_the_table(search, reads):
    lines = search("status", URL, "--all").stdout.splitlines()
    states = dict(re.findall(r"(\d+)\s+(running|complete)", "\n".join(lines[2:])))
    done, running, complete = map(
        int, re.match(r"demo: (\d+) trials finished \((\d+) running · (\d+) complete\)", lines[0]).groups()
    )
    assert done == complete == list(states.values()).count("complete")
    assert running == list(states.values()).count("running")
    best = next(re.search(r"Best trial (\d+)", line)[1] for line in lines if "Best trial" in line)
    assert states[best] == "complete"


def test_json(search, reads):
    table = json.loads(search("status", URL, "--format", "json").stdout)
    complete = {row["trial"]: row["values"]["value"] for row in table["trials"] if row["state"] == "complete"}
    assert table["finished"] == len(complete)
    assert table["best"] == [max(complete, key=complete.get)]


def test_an_ensemble_begins_with_the_best(search, reads):
    members = tomllib.loads(search("export", URL, "--best", "value", "--ensemble", "3").stdout)["members"]
    assert [member["trial"] for member in members] == [COMPLETE - 1, COMPLETE - 2, COMPLETE - 3]


@pytest.mark.parametrize(
    ("arguments", "looks"),
    [
        (("status", URL), 1),
        (("status", URL, "--format", "csv"), 1),
        (("status", URL, "--format", "json"), 1),
        (("status", URL, "--by", "x"), 1),
        (("export", URL), 1),
        (("export", URL, "--trial", "0"), 1),
        (("export", URL, "--ensemble", "2"), 1),
        (("report", URL, "-o", "report.html"), 1),
        (("compare", URL, "sqlite:///demo.db#second", "-o", "comparison.html"), 2),  # each for itself
    ],
)
def test_every_command_looks_once(search, reads, arguments, looks):
    search(*arguments)
    assert len(reads) == looks
