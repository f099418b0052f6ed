"""What is reached without a search: measured by the objective, kept with the study, shown beside its best."""

import io

import optuna
import pytest
from rich.console import Console

from search.driver.launch import launch
from search.errors import ObjectiveError, StudyError
from search.records.attributes import REFERENCES_KEY, references_of
from search.results.finalist_ranking import Ranking, describe_ranking, print_ranking
from search.results.ranking import Metric
from search.results.references import measure_references, take_references
from search.results.report.page import render
from search.storage.open import close
from search.study_file.load import load
from tests.search.objectives import Measured


def test_whose_code_measures_them_is_said_first(search, write):
    path = write(study={"objective": '"objectives:Measured"', "trials": "1"})
    search("launch", path, "--quiet")
    done = search("references", path)
    assert done.stderr == "Runs the code of objectives.py in this folder, which demo.toml names as its objective.\n"
    assert done.stdout == "the middle: -4\nchance: -37\n"


@pytest.mark.usefixtures("folder")
def test_they_are_kept_with_the_study_and_on_its_report(write):
    spec = load(write(study={"objective": '"objectives:Measured"', "trials": "2"}))
    close(launch(spec, quiet=True).study)
    assert measure_references(spec) == {"the middle": (-4.0,), "chance": (-37.0,)}
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    assert references_of(study) == {"the middle": (-4.0,), "chance": (-37.0,)}
    page = render(study)
    assert "the middle, without a search" in page
    assert "<b>-37</b>" in page or ">-37<" in page
    other = load(write(study={"objective": '"objectives:Measured"', "trials": "2"}, objective={"data": '"b"'}))
    with pytest.raises(StudyError):
        measure_references(other)
    assert references_of(study) == {"the middle": (-4.0,), "chance": (-37.0,)}


@pytest.mark.parametrize(
    "told",
    [
        3,
        {},
        {"x": float("nan")},
        {"x": 10**400},
        {"x": [1, 2]},
        {"x": True},
        {1: 2.0},
        {"x" * 101: 1.0},
        {str(i): 1 for i in range(11)},
    ],
)
def test_what_is_no_value_by_name_is_refused(told):
    if told == {}:
        assert take_references(Measured(told), 1) == {}
        return
    with pytest.raises(ObjectiveError, match="references\\(\\) must return at most 10 names"):
        take_references(Measured(told), 1)


def test_an_objective_without_them_is_told_of(folder):
    with pytest.raises(ObjectiveError, match="with a method references"):
        take_references(object(), 1)


@pytest.mark.parametrize("stored", [None, 3, [1], {"x": 1}, {"x": ["<b>"]}, {"x": [float("inf")]}, {"x": [1, 2]}])
def test_a_stranger_s_attribute_is_no_reference(stored):
    study = optuna.create_study()
    study.set_user_attr(REFERENCES_KEY, stored)
    assert references_of(study) == {}


def test_finalists_say_them():
    ranking = Ranking("demo", Metric("score", 0, True), (), None, 0, {"guessing": 0.25})
    assert "Without a search: guessing 0.25." in describe_ranking(ranking)
    print_ranking(ranking, Console(file=(out := io.StringIO())))
    assert "guessing 0.25" in out.getvalue()
