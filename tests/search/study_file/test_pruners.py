import optuna
import pytest
from pydantic_core import PydanticCustomError

from search.study_file import pruners
from search.study_file.pruner_reach import Reach
from search.study_file.rule_errors import format_error


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("none", {}, optuna.pruners.NopPruner),
        ("median", {"n_startup_trials": 2, "n_warmup_steps": 1}, optuna.pruners.MedianPruner),
        ("percentile", {"percentile": 25.0}, optuna.pruners.PercentilePruner),
        ("successive_halving", {"min_resource": 1}, optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", {"max_resource": 9}, optuna.pruners.HyperbandPruner),
        ("patient", {"patience": 2}, optuna.pruners.PatientPruner),
        ("patient", {"patience": 2, "wrapped": {"name": "median"}}, optuna.pruners.PatientPruner),
        ("threshold", {"lower": 0.1}, optuna.pruners.ThresholdPruner),
        ("wilcoxon", {"p_threshold": 0.1}, optuna.pruners.WilcoxonPruner),
    ],
)
def test_each_pruner_is_made(name, options, kind):
    pruners.check(name, options, directions=1, reach=Reach(20))
    assert isinstance(pruners.make(name, options), kind)


def test_a_pruner_of_ones_own_that_draws_has_the_seed_of_its_study(folder):
    (folder / "tossing.py").write_text(
        "import optuna\n\nclass Toss(optuna.pruners.NopPruner):\n    def __init__(self, seed):\n        self.seed = seed\n"
    )
    seeds = [vars(pruners.make("tossing:Toss", {}, study_seed))["seed"] for study_seed in (0, 1, 1, 2)]
    assert (len(set(seeds)), seeds[1]) == (3, seeds[2])


def test_with_several_directions_nothing_can_be_pruned():
    pruners.check("none", {}, directions=2, reach=Reach(20))
    with pytest.raises(PydanticCustomError, match="a study with several directions has no intermediate values"):
        pruners.check("median", {}, directions=2, reach=Reach(20))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("patient", {}, "pruner.patience: the option is required; got nothing. Add it."),
        ("patient", {"patience": 2, "wrapped": "median"}, 'pruner.wrapped: must be a table with a name; got "median".'),
        ("patient", {"patience": 2, "wraped": {}}, 'pruner.wraped: unknown option; got {  }. Did you mean "wrapped"?'),
        ("patient", {"patience": -1}, "pruner: patient does not accept these options; got patience cannot be negative"),
        ("median", {"n_startup_trials": 20}, "pruner.n_startup_trials: median can never prune: it waits for"),
        (
            "patient",
            {"patience": 2, "wrapped": {"name": "median", "n_startup_trials": 20}},
            "pruner.n_startup_trials: median",
        ),
        ("hyperband", {"reduction_factor": 1}, "pruner.reduction_factor: must lie in [2, 1000]; got 1."),
        ("hyperband", {"min_resource": 0}, "pruner.min_resource: must lie in [1, 1000000000]; got 0."),
        ("none", {"n": 1}, "pruner.n: unknown option; got 1. It takes none."),
    ],
)
def test_broken_rules(name, options, expected):
    with pytest.raises(PydanticCustomError) as caught:
        pruners.check(name, options, directions=1, reach=Reach(20))
    assert format_error(caught.value, "pruner").startswith(expected)
