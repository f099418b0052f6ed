import pytest
from optuna.distributions import IntDistribution

from search.errors import StudyFileError
from search.study_file.fidelity import Fidelity
from search.study_file.load import load

EPOCHS = '{ type = "int", low = 2, high = 16, fidelity = true }'


@pytest.mark.parametrize(
    ("low", "high", "rungs"),
    [
        (2, 16, (2, 4, 8, 16)),
        (1, 20, (1, 2, 4, 9, 20)),
        (3, 4, (3, 4)),
        (1, 2, (1, 2)),
        (5, 100, (5, 11, 22, 47, 100)),
        (1, 3, (1, 2, 3)),
    ],
)
def test_rungs_double_from_the_lowest_value_to_the_highest(low, high, rungs):
    fidelity = Fidelity("epochs", IntDistribution(low, high))
    assert fidelity.rungs == rungs
    assert [fidelity.after(rung) for rung in (0, *rungs)] == [*rungs, rungs[-1]]


def test_a_study_file_with_a_fidelity(write):
    spec = load(write(space={"epochs": EPOCHS}))
    assert spec.fidelity == Fidelity("epochs", IntDistribution(2, 16))
    assert list(spec.drawn) == ["x"]
    assert spec.pruner.name == "none", "the rungs prune"
    assert load(write(space={"epochs": EPOCHS.replace("true", "false")})).fidelity is None


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"space": {"epochs": EPOCHS.replace("low = 2", "low = 0")}},
            "space.epochs: low must be >= 1 when fidelity = true; got 0",
        ),
        ({"space": {"epochs": EPOCHS.replace("high = 16", "high = 2")}}, "space.epochs: a fidelity needs low < high; got 2"),
        ({"space": {"epochs": EPOCHS.replace("low", "step = 2, low")}}, "step and fidelity = true exclude each other; got 2"),
        ({"space": {"epochs": EPOCHS.replace("low", "log = true, low")}}, "log and fidelity = true exclude each other"),
        (
            {"space": {"epochs": EPOCHS, "steps": EPOCHS}},
            'space.steps.fidelity: at most one parameter may be the fidelity; got ["epochs", "steps"]. Keep one.',
        ),
        (
            {"space": {"epochs": EPOCHS, "y": '{ type = "int", low = 1, high = 2, when = { param = "epochs", in = [4] } }'}},
            "space.epochs.fidelity: no condition may hang on a fidelity; got y",
        ),
        (
            {"space": {"epochs": EPOCHS}, "pruner": {"name": '"median"'}},
            "space.epochs.fidelity: a fidelity does what a pruner does, and needs none beside it; got pruner median",
        ),
        (
            {"space": {"epochs": EPOCHS}, "sampler": {"name": '"none"'}, "enqueue": "[[enqueue]]\nx = 1\nepochs = 2"},
            "space.epochs.fidelity: a fidelity needs a sampler that draws configs; got sampler none",
        ),
    ],
)
def test_what_does_not_go_with_a_fidelity_is_refused(write, tables, message):
    with pytest.raises(StudyFileError) as refusal:
        load(write(**tables))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_several_directions_have_no_fidelity(write):
    with pytest.raises(StudyFileError, match="a fidelity needs a single direction; got 2 directions"):
        load(
            write(study={"metric": None, "direction": None, "directions": '["maximize", "minimize"]'}, space={"epochs": EPOCHS})
        )
