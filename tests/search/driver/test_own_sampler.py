"""Studies with a sampler or pruner of the user's own, from the command line."""

import shutil
import sys
from pathlib import Path

import optuna
import pytest

from search.driver.ask import TrialSource
from search.driver.retry import requeue
from search.records.attributes import retry_of
from search.records.rungs import RUNGS_KEY
from search.storage.open import open_study
from search.study_file.load import load

HERE = Path(__file__)


@pytest.fixture(autouse=True)
def mine(folder):
    shutil.copy(HERE.parents[1] / "own_classes.py", "mine.py")
    yield
    sys.modules.pop("mine", None)


def drawn(name="demo"):
    return [trial.params["x"] for trial in open_study(f"sqlite:///{name}.db", name).get_trials()]


@pytest.mark.slow
def test_a_study_that_was_interrupted_draws_what_it_would_have_drawn(search, write):
    for name, budgets in {"whole": [5], "parts": [2, 5]}.items():
        path = write(f"{name}.toml", study={"name": f'"{name}"'}, sampler={"target": '"mine:Neighbour"'})
        for budget in budgets:
            search("launch", path, "--trials", budget, "--quiet")
    assert drawn("whole") == drawn("parts")
    assert len(set(drawn("whole"))) == 5


def test_the_studys_seed_fixes_what_is_drawn(write):
    def draw(seed):
        spec = load(write(study={"seed": str(seed)}, sampler={"target": '"mine:Picky"', "wanted": "1"}))
        source = TrialSource(optuna.create_study(), spec)
        return [source.ask({}).params["x"] for _ in range(4)]

    assert draw(0) == draw(0) != draw(1)
    assert len(set(draw(0))) == 4


def test_one_that_remembers_is_kept_for_the_launch(search, write):
    path = write(sampler={"target": '"mine:Counting"'})
    search("launch", path, "--trials", 3, "--quiet")
    search("launch", path, "--trials", 5, "--quiet")
    assert drawn() == [0.0, 1.0, 2.0, 0.0, 1.0], "a launch begins with a sampler that remembers nothing"
    path = write(study={"name": '"anew"'}, sampler={"target": '"mine:Counting"', "keep": "false"})
    search("launch", path, "--trials", 2, "--quiet")
    assert drawn("anew") == [0.0, 0.0]


def test_with_a_fidelity_it_learns_from_more_than_the_one_trial_that_is_ahead(write):
    epochs = '{ type = "int", low = 1, high = 4, fidelity = true }'
    path = write(study={"objective": '"objectives:Climbing"'}, space={"epochs": epochs}, sampler={"target": '"mine:Results"'})
    study = optuna.create_study(direction="maximize")
    source = TrialSource(study, load(path))

    def add(count, *rungs):
        for _ in range(count):
            attrs = {RUNGS_KEY: {str(rung): [float(rung), 1.0] for rung in rungs}}
            study.add_trial(optuna.create_trial(value=float(rungs[-1]), system_attrs=attrs))

    add(1, 1, 2, 4)
    add(4, 1)
    assert source.ask({}).params["x"] == 5.0, "all at the lowest rung"
    add(5, 1, 2)
    assert source.ask({}).params["x"] == 6.0, "who has been at the second"


@pytest.mark.slow
def test_it_climbs_a_fidelity(search, write):
    path = write(
        study={"objective": '"objectives:Climbing"', "trials": "6"},
        space={"epochs": '{ type = "int", low = 1, high = 4, fidelity = true }'},
        sampler={"target": '"mine:Neighbour"'},
    )
    assert "6/6" in search("launch", path).stdout


FEW = '{ type = "int", low = 0, high = 3 }'


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("optuna.samplers:BruteForceSampler", {}),
        ("mine:Ending", {"after": "4"}),
    ],
)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_that_calls_stop_ends_the_search(search, write, target, options, workers):
    sampler = {"target": f'"{target}"', **options}
    path = write(study={"trials": "30"}, space={"x": FEW}, sampler=sampler)
    ended = search("launch", path, "--workers", workers).stdout
    assert "The sampler has ended the search: " in ended
    first = drawn()
    assert len(first) in range(4, 4 + workers)
    assert sorted(set(first)) == [0, 1, 2, 3] or target == "mine:Ending"
    states = {trial.state for trial in open_study("sqlite:///demo.db", "demo").get_trials()}
    assert states == {optuna.trial.TrialState.COMPLETE}
    assert "The sampler has ended the search: " in search("launch", path).stdout
    assert drawn() == first, "a launch that goes on asks for no more"
    write(study={"trials": "30"}, space={"x": FEW})
    search("launch", path, "--trials", len(first) + 1)
    assert len(drawn()) == len(first) + 1, "another sampler does"


def test_what_is_lost_is_run_again_though_the_sampler_has_stopped(write):
    path = write(study={"trials": "9"}, space={"x": FEW}, sampler={"target": '"mine:Ending"', "after": "1"})
    study = optuna.create_study(direction="maximize")
    source, other = (TrialSource(study, load(path)) for _ in range(2))
    trials = [source.ask({}) for _ in range(2)]
    requeue(study, trials[0].number, "lost")
    trials[1].study.tell(trials[1], 0.5)
    assert source.exhausted is None
    assert retry_of(study.get_trials()[source.ask({}).number]) == trials[0].number
    assert source.exhausted == "sampler"
    assert other.ask({}, lambda _: other.exhausted) is None, "another driver is told in time"


def test_where_it_is_named(search, write):
    path = write(sampler={"target": '"mine:Edges"', "share": "0.25"}, pruner={"target": '"mine:Second"', "step": "2"})
    launched = search("launch", path, "--trials", 3).stdout
    for what in ("sampler", "pruner"):
        assert f"Runs the code of mine.py in this folder, which demo.toml names as its {what}." in launched
    states = [trial.state for trial in open_study("sqlite:///demo.db", "demo").get_trials()]
    assert states == [optuna.trial.TrialState.PRUNED] * 3
    Path("imported").unlink()
    sys.modules.pop("mine")
    assert "With the sampler mine:Edges and the pruner mine:Second." in search("status", path).stdout
    search("report", path, "-o", "report.html")
    assert "mine:Edges, share 0.25" in Path("report.html").read_text()
    assert not Path("imported").exists(), "who only looks runs nobody's code"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"sampler": {"target": '"mine:Raising"'}},
            "sampler.target: sample_independent must not fail; got RuntimeError: no idea",
        ),
        (
            {"sampler": {"target": '"mine:Outside"'}},
            "sampler.target: must draw what the space holds; got x = 11.0, which must lie",
        ),
        ({"pruner": {"target": '"mine:Broken"'}}, "pruner.target: prune must not fail; got KeyError: 'nothing' ("),
    ],
)
def test_what_fails_in_a_trial_ends_the_launch_in_a_line(search, write, table, said):
    path = write(**table)
    (line,) = search("launch", path, "--quiet", code=1).stderr.splitlines()
    assert line.startswith(f"error: demo.toml: {said}")
    (trial, *rest) = open_study("sqlite:///demo.db", "demo").get_trials()
    assert trial.state is optuna.trial.TrialState.FAIL
    assert len(rest) == ("pruner" in table), "what the sampler failed at is not tried again, what was under way is"
    assert "1/1" in search("launch", write(), "--trials", 1).stdout, "and the study goes on"
