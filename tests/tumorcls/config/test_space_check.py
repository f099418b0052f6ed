import re
from pathlib import Path

import pytest

from search.driver.whole_file import load_whole
from search.errors import StudyFileError
from search.study_file.distributions import describe_space
from search.study_file.load import load
from tumorcls.config.space_check import SHARED, check_opened, check_space
from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import ConfigError
from tumorcls.objective import BrainTumourObjective

DATA = {"data": ["phantoms:64"]}
STUDIES = Path(__file__).parents[3] / "studies"
NOTHING_TO_KEEP = 'weights = "none" has no statistics to keep: it needs batch_norm = "train"; got "freeze"'


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
        ({"noise_intensity": numbers(1.0, 1.0, step=0.25), "epochs": numbers(4, 20, "int")}, []),
        (
            {"noise_intensity": numbers(0.0, 0.9, step=0.03)},
            [
                "space.noise_intensity: must be a multiple of 0.05: give it such a step in the study file; got step = 0.03. "
                "Change its type or its step."
            ],
        ),
        (  # what lies between is no news where an end is wrong
            {"noise_intensity": numbers(-0.3, 1.0)},
            ["space.noise_intensity: must be greater than or equal to 0; got low = -0.3. Change its range."],
        ),
        (
            {"dropuot": numbers(0.0, 0.5)},
            ["space.dropuot: must be a setting of the classifier; got 'dropuot'. Did you mean dropout?"],
        ),
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
        (
            {"weights": {"choices": ["none", "imagenet"]}, "dropout": numbers(0.0, 0.5)},
            [f"space.weights: {NOTHING_TO_KEEP}; got 'none'. Change it, or the setting."],
        ),
    ],
)
def test_every_parameter_that_cannot_be_trained_is_told(space, lines):
    assert check_space(space, [], DATA) == lines


def test_no_setting_that_trials_share_is_proposed_as_a_parameter():
    [line] = check_space({"slice": {"choices": ["middle"]}}, [], DATA)
    assert "Known: image_size, weights, " in line
    assert not any(name in line.partition("Known: ")[2].removesuffix(".").split(", ") for name in SHARED)


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({}, ["objective.data"]),
        ({**DATA, "weights": "none"}, ["objective.config"]),
        ({**DATA, "dropout": 2.0}, ["objective.dropout"]),
    ],
    ids=["missing", "two that do not go together", "out of range"],
)
def test_a_wrong_setting_is_told_once_and_not_of_each_parameter(settings, places):
    space = {"learning_rate": numbers(1e-4, 1e-2, log=True), "batch_norm": {"choices": ["train", "freeze"]}}
    told = check_space(space, [{"learning_rate": 1e-3}], settings)
    assert [line.partition(": ")[0] for line in told] == places


def test_beside_a_wrong_setting_the_others_still_count():
    told = check_space(
        {"batch_norm": {"choices": ["freeze"]}}, [], {**DATA, "weights": "none", "batch_norm": "train", "dropout": 2.0}
    )
    assert [line.partition(": ")[0] for line in told] == ["objective.dropout", "space.batch_norm"]
    assert NOTHING_TO_KEEP in told[1]


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
    whole = [{"weights": "none", "batch_norm": "freeze"}]
    assert check_space(space, whole, DATA) == [f"enqueue[0]: {NOTHING_TO_KEEP}. Change it."]


def test_an_enqueued_value_takes_the_place_of_the_setting():
    """As a parameter does in a trial."""
    space = {"weights": {"choices": ["none", "imagenet"]}, "batch_norm": {"choices": ["train", "freeze"]}}
    for weights, lines in (("none", [f"enqueue[0]: {NOTHING_TO_KEEP}. Change it."]), ("imagenet", [])):
        assert check_space(space, [{"weights": weights}], {**DATA, "weights": "phantoms"}) == lines


@pytest.mark.parametrize(("name", "other"), [("data", ["phantoms:8"]), ("slices", "all"), ("split", {"seed": 9})])
def test_a_trial_on_other_images_than_those_that_were_opened_is_refused(name, other):
    opened, changed = (TrainConfig.parse({**DATA, **more}, where="x") for more in ({}, {name: other}))
    with pytest.raises(ConfigError, match=rf"^trial 3: {name}: must be that of the objective, .* Make an objective for each"):
        check_opened(changed, opened, "trial 3")
    check_opened(TrainConfig.parse({**DATA, "epochs": 7, "score": "clean_f1"}, where="x"), opened, "trial 3")


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
