"""``target`` in [sampler] and [pruner]: every way in which a class cannot be had is one line."""

import shutil
import sys
from pathlib import Path

import pytest

from search.errors import StudyFileError
from search.study_file.load import load

HERE = Path(__file__)


@pytest.fixture(autouse=True)
def mine(folder):
    shutil.copy(HERE.parents[1] / "own_classes.py", "mine.py")
    Path("broken.py").write_text("import nowhere_at_all\n")
    yield
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)


def lines(path, **options):
    with pytest.raises(StudyFileError) as caught:
        load(path, **options)
    return [line.removeprefix(f"{path}: ") for line in caught.value.lines]


SAMPLERS = {
    "mine:Edge": "sampler.target: must be a class that can be imported and derives from optuna's BaseSampler; "
    'got "mine:Edge": mine has no attribute "Edge". Did you mean "Edges"?',
    "nowhere:Edges": "sampler.target: must be a class that can be imported and derives from optuna's BaseSampler; "
    'got "nowhere:Edges": no module named "nowhere". Check it, and run from the folder that holds the module',
    "mine:Second": "sampler.target: must be a class that can be imported and derives from optuna's BaseSampler; "
    'got "mine:Second", a class that does not. Name another one.',
    "optuna.samplers:GridSampler": "sampler.target: must be a class that can be made anew for each trial; Optuna's grid would "
    'number its points by each one\'s seed; got "optuna.samplers:GridSampler". Write name = "grid" instead.',
    "optuna.samplers:QMCSampler": "sampler.target: must be a class that can be made anew for each trial; Optuna's qmc would "
    'number its points by each one\'s seed; got "optuna.samplers:QMCSampler". Write name = "qmc" instead.',
    "mine:NO_CLASS": "sampler.target: must be a class that can be imported and derives from optuna's BaseSampler; "
    'got "mine:NO_CLASS", which is of type int. Name another one.',
    "mine.Edges": 'sampler.target: must be module:attribute; got "mine.Edges". Write it as "package.module:Class".',
    "random:Random": "sampler.target: must be a class of yours or of a package, not of Python's own modules; "
    'got "random:Random". Rename the module, if random is yours.',
}


@pytest.mark.parametrize("target", SAMPLERS)
def test_what_is_no_sampler(write, target):
    assert lines(write(sampler={"target": f'"{target}"'})) == [SAMPLERS[target]]


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("mine:Edges", {"shar": "0.5"}, 'sampler.shar: unknown option; got 0.5. Did you mean "share"?'),
        ("mine:Edges", {"share": '"half"'}, 'sampler.share: must be of type float; got "half". Change it.'),
        ("mine:Edges", {"seed": "3"}, "sampler.seed: comes from study.seed; got 3. Remove it, and set study.seed."),
        ("mine:Picky", {}, "sampler.wanted: the option is required; got nothing. Add it."),
        ("mine:Picky", {"wanted": "2"}, "sampler: mine:Picky does not accept these options; got ValueError: wanted is not 1"),
        (
            "mine:Abstract",
            {},
            "sampler: mine:Abstract does not accept these options; got TypeError: Can't instantiate abstract",
        ),
        ("mine:Edges", {"keep": "1"}, "sampler.keep: must be true or false; got 1. Change it."),
        (
            "broken:Edges",
            {},
            "sampler.target: must be a class that can be imported and derives from optuna's BaseSampler; got Mod",
        ),
    ],
)
def test_what_a_class_does_not_take(write, target, options, said):
    (line,) = lines(write(sampler={"target": f'"{target}"', **options}))
    assert line.startswith(said)


def test_all_errors_of_a_file_are_told_at_once(write):
    path = write(
        sampler={"target": '"mine:Edges"', "shar": "1"}, pruner={"target": '"mine:Edges"'}, enqueue="[[enqueue]]\nx = 11"
    )
    assert [line.partition(":")[0] for line in lines(path)] == ["sampler.shar", "enqueue[0].x", "pruner.target"]


@pytest.mark.parametrize("table", ["sampler", "pruner"])
def test_one_of_name_and_target(write, table):
    (both,) = lines(write(**{table: {"target": '"mine:Edges"', "name": '"random"'}}))
    (neither,) = lines(write(**{table: {"keep": "true"}}))
    rule = f"{table}: exactly one of name and target is required; got"
    assert (both.partition(" got")[0], neither.partition(" got")[0]) == (rule[:-4], rule[:-4])
    assert "mine:Edges" in lines(write(**{table: {"name": '"mine:Edges"'}}))[0], "a target is no name"


def test_optunas_own_classes_may_be_named(write):
    spec = load(
        write(sampler={"target": '"optuna.samplers:BruteForceSampler"'}, pruner={"target": '"optuna.pruners:NopPruner"'})
    )
    assert (spec.sampler.name, spec.pruner.name) == ("optuna.samplers:BruteForceSampler", "optuna.pruners:NopPruner")


def test_who_only_looks_imports_nothing(write):
    load(write(sampler={"target": '"mine:Edges"'}, pruner={"target": '"mine:Second"'}), imports=False)
    assert not Path("imported").exists()


def test_beside_a_fidelity_a_sampler_must_not_remember(write):
    space = {"epochs": '{ type = "int", low = 1, high = 8, fidelity = true }'}
    load(write(space=space, sampler={"target": '"mine:Neighbour"'}))
    load(write(space=space, sampler={"target": '"mine:Counting"', "keep": "false"}))
    (line,) = lines(write(space=space, sampler={"target": '"mine:Counting"'}))
    assert line.startswith(
        "sampler.target: beside the fidelity epochs, a sampler must learn from the study's trials alone; got"
    )


@pytest.mark.parametrize("target", ["optuna.samplers:BruteForceSampler", "mine:Exhaustive"])
def test_beside_a_fidelity_a_sampler_must_not_read_the_storage(write, target):
    space = {"x": '{ type = "int", low = 0, high = 3 }'}
    load(write(space=space, sampler={"target": f'"{target}"'}))
    space["epochs"] = '{ type = "int", low = 1, high = 8, fidelity = true }'
    (line,) = lines(write(space=space, sampler={"target": f'"{target}"'}))
    assert line == (
        "sampler.target: beside the fidelity epochs, a sampler must learn from the study's trials alone; "
        f"got {target}, which reads the storage, where epochs is a parameter of the trials. "
        "Take another sampler, or remove fidelity."
    )


def test_several_directions_refuse_a_pruner_of_ones_own(write):
    study = {"direction": None, "directions": '["maximize", "minimize"]', "metric": None, "metrics": '["a", "b"]'}
    (line,) = lines(write(study=study, pruner={"target": '"mine:Second"'}))
    assert line.startswith("pruner.target: a study with several directions has no intermediate values")


def test_a_prior_is_refused_beside_it(write):
    space = {"x": '{ type = "float", low = 0.0, high = 10.0, prior = 2.0 }'}
    (line,) = lines(write(space=space, sampler={"target": '"mine:Edges"'}))
    assert line == "space.x.prior: a prior needs the sampler tpe; got mine:Edges. Remove the prior, or take that sampler."
