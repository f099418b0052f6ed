"""What an objective knows of a study file is told before trial 0, and an enqueued config is never half drawn."""

from pathlib import Path

import pytest

from search.driver.baseline import complete
from search.errors import StudyFileError
from search.study_file.load import load

Y = '{ type = "float", low = 0.0, high = 1.0 }'
Z = '{ type = "categorical", choices = ["a", "b"], when = { param = "k", is = 2 } }'
K = '{ type = "int", low = 1, high = 3 }'
KNOWS = {"objective": '"objectives:Knows"', "trials": "1"}


def test_a_name_and_a_config_that_the_objective_refuses_end_a_launch_before_it_is_built(write, search):
    write(study=KNOWS, space={"z": Y, "q": Y}, enqueue="[[enqueue]]\nx = 6")
    done = search("launch", "demo.toml", code=1)
    assert done.stderr.splitlines() == [
        "error: demo.toml: space.z: must be x or y; got another.",
        "error: demo.toml: space.q: must be x or y; got another.",
        "error: demo.toml: enqueue[0]: must be small.",
    ]
    assert not Path("built").exists()


@pytest.mark.parametrize(
    "directions", [{"direction": '"minimize"'}, {"direction": None, "metric": None, "directions": '["maximize", "maximize"]'}]
)
def test_a_study_that_would_choose_the_worst_is_told_before_the_objective_is_built(write, search, directions):
    write(study={**KNOWS, **directions})
    [line] = search("launch", "demo.toml", code=1).stderr.splitlines()
    assert line.startswith('error: demo.toml: study.direction: must be "maximize" for this objective; got [')
    assert not Path("built").exists()


def test_what_the_file_s_rules_refuse_is_told_with_what_an_installed_objective_does(write, search, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "a long secret")
    study = {**KNOWS, "objective": '"tests.search.objectives:Knows"', "direktion": '"minimize"', "environment": '["MY_SECRET"]'}
    write(study=study, space={"z": Y, "x": Y.replace("1.0", "-1.0")}, objective={"y": '"${MY_SECRET}"'})
    whole = search("launch", "demo.toml", code=1).stderr.splitlines()
    assert "unknown key" in whole[0]
    assert whole[-1] == "error: demo.toml: space.z: must be x or y; got another."
    monkeypatch.delenv("MY_SECRET")
    assert search("launch", "demo.toml", code=1).stderr.splitlines()[-1] == whole[-1], "with a variable that is not set"
    monkeypatch.setenv("MY_SECRET", "a long secret")
    write(study={**study, "objective": '"objectives:Knows"'}, space={"z": Y, "x": Y.replace("1.0", "-1.0")})
    assert search("launch", "demo.toml", code=1).stderr.splitlines() == whole[:-1], "no code of this folder has run"


def test_a_file_whose_objective_cannot_be_asked_keeps_its_own_errors(write, search, monkeypatch):
    for target in ("nowhere:Knows", "tests.search.objectives:NoStart", "not a name"):
        write(study={**KNOWS, "objective": f'"{target}"', "trials": "0"})
        lines = search("launch", "demo.toml", code=1).stderr.splitlines()
        assert "study.trials" in lines[0]
        assert len(lines) == (2 if " " in target else 1)


def test_an_entry_takes_what_it_leaves_open_from_the_objective(write, search, read_study):
    write(study=KNOWS, space={"y": Y}, enqueue="[[enqueue]]\nx = 2")
    done = search("launch", "demo.toml")
    assert "note: enqueue[0] leaves open, and takes: y = 0.5 (the default)\n" in done.stdout
    assert read_study().trials[0].params == {"x": 2.0, "y": 0.5}


def test_settings_come_before_defaults_and_conditions_hold(write):
    spec = load(write(space={"y": Y, "z": Z, "k": K}, objective={"y": "0.25"}, enqueue="[[enqueue]]\nx = 2"))
    defaults = {"x": 1, "y": 0.25, "k": 2, "z": "b"}
    configs, notes = complete(spec.enqueue, spec, defaults)
    assert configs == [{"x": 2.0, "y": 0.25, "k": 2, "z": "b"}]
    assert notes == ['enqueue[0] leaves open, and takes: y = 0.25 ([objective]), k = 2 (the default), z = "b" (the default)']
    assert complete(spec.enqueue, spec, {**defaults, "k": 1})[0] == [{"x": 2.0, "y": 0.25, "k": 1}]


def test_a_default_outside_the_space_is_no_baseline(write):
    spec = load(write(space={"y": Y, "k": K}, enqueue="[[enqueue]]\nx = 2"))
    with pytest.raises(StudyFileError) as caught:
        complete(spec.enqueue, spec, {"y": 3.0, "k": 0})
    assert str(caught.value).splitlines() == [
        "demo.toml: enqueue[0]: must name y, since the default, 3.0, must lie in [0.0, 1.0]. Add it.",
        "demo.toml: enqueue[0]: must name k, since the default, 0, must lie in [1, 3]. Add it.",
    ]


def test_where_the_objective_names_no_default_the_launch_says_who_draws(write, search):
    write(study={"objective": '"objectives:parabola"', "trials": "1"}, space={"y": Y}, enqueue="[[enqueue]]\nx = 2")
    told = "note: enqueue[0] leaves open y: the sampler draws, since the objective names no default\n"
    assert told in search("launch", "demo.toml").stdout
