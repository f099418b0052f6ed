from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import ObjectiveError, ProjectError
from search.study_file.conditions import Condition

pytest.importorskip("keras_tuner")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hypermodels")]


@pytest.fixture
def discover():
    from search.keras_tuner.discovery import discover

    return discover


def test_what_depends_on_plain_python(discover):
    found = discover("hypermodels:layers_by_number")
    units = {f"units_{layer}": IntDistribution(8, 32, step=8) for layer in range(3)}
    assert found.space == {
        "num_layers": IntDistribution(1, 3),
        "activation": CategoricalDistribution(["relu", "tanh"]),
        "dropout": CategoricalDistribution([False, True]),
        "rate": FloatDistribution(1e-3, 1e-1, log=True),
        **units,
    }
    assert found.broken == []


def test_what_fit_asks_for_without_training(discover):
    found = discover("hypermodels:TunedTraining", "hypermodels:load_images")
    assert list(found.space) == ["size", "rate", "flip", "shuffle"]
    assert found.fixed == {"optimizer": "sgd"}
    assert list(discover("hypermodels:TunedTraining").space) == ["size"]
    assert list(discover("hypermodels:OwnLoop", "hypermodels:load_ones").space) == ["units", "shift"]


def test_scopes_within_scopes(discover):
    """What is behind a value that is no end of its range is found by its scope, and what is behind that by trying it."""

    def build(hp):
        depth = hp.Int("depth", 1, 9)
        with hp.conditional_scope("depth", [5]):
            kind = hp.Choice("kind", ["a", "b"])
            if kind == "b" and depth == 5:
                hp.Float("inner", 0.0, 1.0)

    assert list(discover(build).space) == ["depth", "kind", "inner"]


def test_a_trial_has_what_is_in_a_scope_only_where_its_parent_says_so(discover):
    """What fills no one `when` is in each trial: the dropout of both kinds."""
    found = discover("hypermodels:ScopedTraining")
    assert list(found.space) == ["kind", "units", "dropout", "filters", "deep", "deep_filters"]
    assert found.conditions == {
        "units": Condition("kind", ("mlp",)),
        "filters": Condition("kind", ("cnn",)),
        "deep": Condition("kind", ("cnn",)),
        "deep_filters": Condition("deep", (True,)),
    }


def test_values_that_cannot_be_built_are_told(discover):
    def build(hp):
        if hp.Choice("size", [1, 2, 3]) == 2:
            raise ValueError("2 is odd")

    found = discover(build)
    assert found.broken == [({"size": 2}, "ValueError: 2 is odd")]
    assert list(found.space) == ["size"]


def test_what_has_no_space_to_show(discover, monkeypatch):
    monkeypatch.setattr("search.keras_tuner.discovery._MAX_BUILDS", 20)

    def broken(hp):
        raise KeyError("weights")

    def endless(hp):
        names = ["0"]
        while hp.Boolean(names[-1]):
            names.append(str(len(names)))

    def two_ranges(hp):
        if hp.Boolean("deep"):
            hp.Int("units", 64, 128)
        else:
            hp.Int("units", 8, 16)

    for build, message in [
        (broken, "must build with its defaults; got: KeyError: 'weights'"),
        (endless, "20 builds must be enough to see its space"),
        (two_ranges, r"units must mean the same wherever it is asked for; got \[8, 16\] and \[64, 128\]. Use two names"),
    ]:
        with pytest.raises(ProjectError, match=message):
            discover(build)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch:M"], 'no module named "nosuch". Check MODULE:HYPERMODEL, and run from the folder that holds the module'),
        (["hypermodels:np"], "MODULE:HYPERMODEL: must be a HyperModel or a function of hp; got module"),
        (["hypermodels:layers_by_number", "nosuch:f"], 'no module named "nosuch". Check --data, and run from the folder that'),
        (["hypermodels:layers_by_number", "builtins:list"], "--data: must return the keyword arguments of fit"),
    ],
)
def test_a_message_names_what_the_command_was_given_and_no_key_of_a_study_file(discover, arguments, message):
    with pytest.raises(ObjectiveError) as caught:
        discover(*arguments)
    assert str(caught.value).startswith(message)


def test_code_that_cannot_be_loaded_is_one_line(search):
    Path("raises_itself.py").write_text("open('nothing.npz')")
    Path("hypermodels_that_raise.py").write_text(
        "import keras_tuner\nclass Classes(keras_tuner.HyperModel):\n    def __init__(self, classes):\n        pass\n"
        "class Raises(keras_tuner.HyperModel):\n    def __init__(self):\n        raise RuntimeError('no GPU.')\n"
        "def build(hp): ...\ndef data():\n    raise FileNotFoundError('no train.npz')"
    )
    for arguments, message in [
        (
            ["raises_itself:Model"],
            "raises_itself:Model: must load; got: FileNotFoundError: [Errno 2] No such file or directory",
        ),
        (["hypermodels_that_raise:Raises"], "hypermodels_that_raise:Raises: must load; got: RuntimeError: no GPU.\n"),
        (
            ["hypermodels_that_raise:build", "--data", "hypermodels_that_raise:data"],
            "hypermodels_that_raise:data: must load; got: FileNotFoundError: no train.npz",
        ),
        (
            ["hypermodels_that_raise:Classes"],
            "a class must be made without arguments; got Classes, missing a required argument: 'classes'. Name an",
        ),
    ]:
        said = search("space-from-keras-tuner", *arguments, code=1).stderr
        assert message in said
        assert said.count("\n") == 1
