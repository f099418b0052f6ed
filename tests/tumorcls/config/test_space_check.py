import re
from pathlib import Path

import pytest

from search.driver.whole_file import load_whole
from search.errors import StudyFileError
from search.study_file.distributions import describe_space
from search.study_file.load import load
from tumorcls.config.space_check import check_space
from tumorcls.config.train_config import TrainConfig
from tumorcls.objective import BrainTumourObjective

DATA = {"data": ["phantoms:64"]}
STUDIES = Path(__file__).parents[3] / "studies"


def numbers(low, high, kind="float", **more):
    return {"type": kind, "low": low, "high": high, **more}


@pytest.mark.parametrize(
    ("space", "lines"),
    [
        (
            {"learning_rat": numbers(0.1, 0.2)},
            ["space.learning_rat: must be a setting of the classifier; got 'learning_rat'. Did you mean learning_rate?"],
        ),
        (
            {"learning_rate": numbers(0.001, 10.0, log=True)},
            ["space.learning_rate: must be less than or equal to 1; got high = 10.0. Change its range."],
        ),
        (
            {"dropout": numbers(-0.1, 1.0)},
            [
                "space.dropout: must be greater than or equal to 0; got low = -0.1. Change its range.",
                "space.dropout: must be less than 1; got high = 1.0. Change its range.",
            ],
        ),
        (
            {"optimizer": {"type": "categorical", "choices": ["adam", "addam", "lion"]}},
            [
                "space.optimizer: must be 'adam', 'adamw' or 'sgd'; got 'addam'. Change choices.",
                "space.optimizer: must be 'adam', 'adamw' or 'sgd'; got 'lion'. Change choices.",
            ],
        ),
        (
            {"epochs": numbers(4, 20)},
            [
                "space.epochs: must be a valid integer, got a number with a fractional part; "
                "got every number from 4 to 20. Change its type or its step."
            ],
        ),
        (
            {"noise_intensity": numbers(0.0, 1.0)},
            [
                "space.noise_intensity: must be a multiple of 0.05: give it such a step in the study file; "
                "got every number from 0.0 to 1.0. Change its type or its step."
            ],
        ),
        ({"noise_intensity": numbers(0.0, 1.0, step=0.25), "epochs": numbers(4, 20, "int", step=4)}, []),
        (
            {"data": {"type": "categorical", "choices": ["a", "b"]}},
            ["space.data: must be the same for all trials; got data as a parameter. Write it in [objective]."],
        ),
        (
            {"slices": {"type": "categorical", "choices": ["middle", "all"]}},
            ["space.slices: must be the same for all trials; got slices as a parameter. Write it in [objective]."],
        ),
        (
            {
                "weights": {"type": "categorical", "choices": ["none", "imagenet"]},
                "batch_norm": {"choices": ["train", "freeze"]},
            },
            [],
        ),
        (
            {"weights": {"type": "categorical", "choices": ["none", "imagenet"]}},
            [
                'space.weights: weights = "none" has no statistics to keep: it needs batch_norm = "train"; got "freeze"; '
                "got 'none'. Change it, or the setting."
            ],
        ),
    ],
)
def test_every_parameter_that_cannot_be_trained_is_told(space, lines):
    assert check_space(space, [], DATA) == lines


def test_what_can_be_sampled_is_what_the_settings_page_says():
    page = (STUDIES.parent / "docs" / "settings.md").read_text()
    fixed = set(re.findall(r"`(\w+)`", re.search(r"except (.*?) can also be sampled", page, re.DOTALL)[1]))
    assert fixed < TrainConfig.model_fields.keys()
    for name, field in TrainConfig.model_fields.items():
        choice = {"data": "phantoms:64", "split": 0.2, "score": "clean_f1"}.get(name, field.default)
        lines = check_space({name: {"choices": [choice if isinstance(choice, int | float | str) else choice[0]]}}, [], DATA)
        shared = f"space.{name}: must be the same for all trials; got {name} as a parameter. Write it in [objective]."
        assert lines == ([shared] if name in fixed else [])


def test_the_error_that_the_settings_page_shows_is_the_one_that_is_told():
    page = (STUDIES.parent / "docs" / "settings.md").read_text()
    shown = re.search(r"```text\nerror: \S+: (.*)\n```", page)[1]
    assert check_space({}, [], {**DATA, "dropout": 1.5}) == [shown]


def test_all_that_is_wrong_in_a_file_is_told_at_once():
    space = {"dropuot": numbers(0.0, 0.5), "epochs": numbers(0, 4, "int")}
    settings = {**DATA, "imagesize": 64, "batch_size": 0, "folds": 3, "split": {"tset": 0.2}}
    told = BrainTumourObjective.check_space(space, [{"epochs": 0}], settings)
    assert [line.partition(": ")[0] for line in told] == [
        "objective.split.tset",
        "objective.batch_size",
        "objective.imagesize",
        "space.dropuot",
        "space.epochs",
    ]


def test_an_enqueued_config_that_goes_with_no_setting_is_told():
    space = {"weights": {"choices": ["none", "imagenet"]}, "batch_norm": {"choices": ["train", "freeze"]}}
    told = check_space(space, [{"weights": "none", "batch_norm": "train"}, {"weights": "none"}], DATA)
    assert len(told) == 1
    assert told[0].startswith('enqueue[1]: weights = "none" has no statistics to keep')


@pytest.mark.parametrize("study", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_our_own_studies_have_nothing_to_tell(study):
    spec = load(study)
    assert BrainTumourObjective.check_space(describe_space(spec.space, spec.conditions), spec.enqueue, spec.settings) == []
    assert BrainTumourObjective.defaults(spec.settings).keys() >= spec.space.keys()


def test_the_defaults_are_those_of_the_settings_and_else_of_the_config():
    defaults = BrainTumourObjective.defaults({**DATA, "rotation_degrees": 5, "repeats": 2})
    assert (defaults["rotation_degrees"], defaults["optimizer"], defaults["epochs"]) == (5.0, "adam", 20)


def test_a_file_that_breaks_rules_is_told_what_the_classifier_refuses_too(tmp_path):
    study = tmp_path / "study.toml"
    lines = [
        '[study]\nname = "a"\nobjective = "tumorcls.objective:BrainTumourObjective"\ntrials = 3\ndirecton = "maximize"',
        '[space]\nlearning_rat = { type = "float", low = 0.1, high = 0.2 }\nepochs = { type = "int", low = 4, high = 2 }',
        '[objective]\ndata = ["${TUMORCLS_NOWHERE}/sartaj"]\noptimiser = "adam"',
    ]
    study.write_text("\n".join(lines))
    with pytest.raises(StudyFileError) as caught:
        load_whole(study)
    assert [line.removeprefix(f"{study}: ").partition(": ")[0] for line in caught.value.lines] == [
        "study.directon",
        "space.epochs",
        "objective.optimiser",
        "space.learning_rat",
    ]
