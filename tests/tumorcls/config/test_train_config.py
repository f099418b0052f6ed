from collections.abc import Iterable
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from search.study_file.distributions import continuous, values_of
from search.study_file.load import load
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import VIEW_FIELDS, TrainConfig
from tumorcls.errors import ConfigError
from tumorcls.noise.kinds import NOISES

WHERE = "studies/x.toml"
STUDIES = Path(__file__).parents[3] / "studies"


@pytest.mark.parametrize(
    ("changed", "place", "rest"),
    [
        ({"data": None}, "data", "must be given"),
        ({"data": []}, "data", "got []"),
        ({"epochs": 0}, "epochs", "got 0"),
        ({"dropout": 1.0}, "dropout", "less than 1"),
        ({"learning_rate": 0.0}, "learning_rate", "greater than 0"),
        ({"learning_rate": "fast"}, "learning_rate", "got 'fast'"),
        ({"noises": ["gausian"]}, "noises.0", "got 'gausian'"),
        ({"trainable_from": "block8"}, "trainable_from", "'block7' or 'head'"),
        ({"split": {"validation": 0.6, "test": 0.5}}, "split", "must be below 1"),
        ({"split": {"valdation": 0.2}}, "split.valdation", "Did you mean validation?"),
        ({"dropuot": 0.5}, "dropuot", "Did you mean dropout?"),
        ({"qqq": 1}, "qqq", "Known settings: data,"),
        ({"weights": "none"}, "config", 'it needs batch_norm = "train"'),
        ({"measured_noises": []}, "config", 'score = "robust_f1" needs at least one of measured_noises'),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_where_and_what(changed, place, rest):
    values = {key: value for key, value in {"data": ["x"], **changed}.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        TrainConfig.parse(values, where=WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: {place}: ")
    assert rest in message
    assert "\n" not in message


def test_one_folder_may_be_given_without_an_array():
    assert TrainConfig.parse({"data": "a"}, where=WHERE).data == ("a",)


@pytest.mark.parametrize(("given", "kept"), [(0.0, 0.0), (0.25, 0.25), (6 * 0.05, 0.3), (1 / 3 * 3, 1.0), (1, 1.0)])
def test_noise_intensity_lies_on_its_steps_whatever_floats_make_of_them(given, kept):
    assert TrainConfig.parse({"data": "a", "noise_intensity": given}, where=WHERE).noise_intensity == kept


@pytest.mark.parametrize("given", [0.37, 0.26, 0.524, 0.9999, 1e-5])
def test_noise_intensity_between_its_steps_is_refused_rather_than_trained_as_another(given):
    with pytest.raises(ConfigError, match=r"noise_intensity: must be a multiple of 0\.05: give it such a step"):
        TrainConfig.parse({"data": "a", "noise_intensity": given}, where=WHERE)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": "sartaj"}, []),
        ({"data": "phantoms:40", "weights": "phantoms"}, ["the images are generated"]),
        ({"data": ["phantoms:40", "sartaj"], "weights": "phantoms"}, ['"phantoms" have learned from generated images alone']),
        ({"data": "sartaj", "weights": "none", "batch_norm": "train"}, ["RANDOM"]),
        ({"data": "phantoms:40:7"}, ["the images are generated"]),
    ],
)
def test_a_note_says_what_generated_images_and_first_weights_mean_for_the_figures(values, said):
    notes = TrainConfig.parse(values, where=WHERE).notes
    assert len(notes) == len(said)
    assert all(text in note for text, note in zip(said, notes, strict=True))


@pytest.mark.parametrize("name", sorted(path.stem for path in STUDIES.glob("*.toml")))
def test_all_that_our_studies_can_draw_is_trained_as_it_is(name):
    spec = load(STUDIES / f"{name}.toml")
    for parameter, distribution in spec.space.items():
        if isinstance(distribution, FloatDistribution) and continuous({parameter: distribution}):
            values: Iterable[object] = [distribution.low, distribution.high]
        else:
            values = values_of(distribution)
        for value in values:
            config = TrainConfig.parse({"data": "a", parameter: value}, where=WHERE)
            assert getattr(config, parameter) == pytest.approx(value, abs=1e-9)
            assert isinstance(getattr(config, parameter), type(value))
    for entry in spec.enqueue:
        trained = TrainConfig.parse({"data": "a", **entry}, where=WHERE)
        assert {key: getattr(trained, key) for key in entry} == dict(entry)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"epochs": "5"}, "epochs: must be a number; got '5'"),
        ({"epochs": True}, "epochs: must be a number; got True"),
        ({"epochs": 2.5}, "epochs: "),
        ({"learning_rate": "0.1"}, "learning_rate: must be a number"),
        ({"learning_rate": float("nan")}, "learning_rate: "),
        ({"rotation_degrees": float("nan")}, "rotation_degrees: "),
        ({"rotation_degrees": float("inf")}, "rotation_degrees: "),
        ({"clean_share": True}, "clean_share: must be a number"),
        ({"horizontal_flip": 1}, "horizontal_flip: must be true or false; got 1"),
        ({"horizontal_flip": "yes"}, "horizontal_flip: must be true or false"),
        ({"weights": "a\0b"}, "weights: must have no null character"),
        ({"data": ["a\0b"]}, "data: must have no null character"),
        ({"epochs": 10**400}, "epochs: "),
        ({"noises": ["x" * 10_000]}, "noises.0: "),
    ],
)
def test_what_would_be_trained_as_another_value_is_refused(values, rule):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.parse({"data": "a", **values}, where=WHERE)
    assert str(caught.value).startswith(f"{WHERE}: {rule}")
    assert len(str(caught.value)) < 500


def test_nothing_is_cached_where_nothing_is_frozen():
    assert TrainConfig.parse({"data": "a", "trainable_from": "all", "views": 4}, where=WHERE).cached_views == 0
    assert TrainConfig.parse({"data": "a", "trainable_from": "head", "views": 4}, where=WHERE).cached_views == 4


def test_a_config_survives_being_written_out():
    config = TrainConfig.parse({"data": "a", "noises": ["rician"], "split": {"seed": 3}}, where=WHERE)
    assert TrainConfig.parse(config.model_dump(mode="json"), where=WHERE) == config


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("TUMORCLS_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("TUMORCLS_CACHE")
    assert cache_folder().name == "tumorcls"


def test_every_setting_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    split = TrainConfig.model_fields["split"].annotation
    names = [f"`{name}`" for name in TrainConfig.model_fields if name != "split"]
    names += [f"`split.{name}`" for name in split.model_fields]
    names += [f"`{noise}`" for noise in NOISES]
    assert [name for name in names if name not in page] == []


IN_NO_VIEW = {
    *(
        "data",
        "slices",
        "split",
        "image_size",
        "weights",
        "trainable_from",
    ),  # what is drawn of and runs it: the entry's other keys
    *("batch_norm", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "dropout", "label_smoothing"),
    "precision",  # of training steps; activations are computed in float32
    "views",  # how many there are; each is an entry of its own
    *("score", "measured_noises", "noisy_images", "mirror_average"),
}


def test_each_setting_is_in_the_recipe_of_a_view_or_known_not_to_be():
    """A setting that changes views and is in no recipe would be given another's cached views."""
    assert set(TrainConfig.model_fields) == {*VIEW_FIELDS, *IN_NO_VIEW}
    assert not IN_NO_VIEW & {*VIEW_FIELDS}
