from pathlib import Path

import pytest

from tumorcls.config import TrainConfig, cache_folder
from tumorcls.errors import ConfigError

WHERE = "studies/x.toml"


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


@pytest.mark.parametrize(("given", "kept"), [(0.0, 0.0), (0.26, 0.25), (0.524, 0.5), (0.98, 1.0)])
def test_noise_intensity_is_rounded_so_that_trials_share_views(given, kept):
    assert TrainConfig.parse({"data": "a", "noise_intensity": given}, where=WHERE).noise_intensity == kept


def test_nothing_is_cached_where_nothing_is_frozen():
    assert TrainConfig.parse({"data": "a", "trainable_from": "all", "views": 4}, where=WHERE).cached_views == 0
    assert TrainConfig.parse({"data": "a", "trainable_from": "head", "views": 4}, where=WHERE).cached_views == 4


def test_a_config_survives_being_written_out():
    config = TrainConfig.parse({"data": "a", "noises": ["rician"], "split": {"seed": 3}}, where=WHERE)
    assert TrainConfig.parse(config.model_dump(mode="json"), where=WHERE) == config


@pytest.mark.parametrize(
    ("content", "rule"),
    [(None, "readable TOML"), ("[config", "must be TOML"), ("x = 1", "[config] table"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_file_that_is_no_config_is_one_line(content, rule, tmp_path):
    path = tmp_path / "best.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        TrainConfig.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_file_is_read(tmp_path):
    path = tmp_path / "best.toml"
    path.write_text('[config]\ndata = ["a"]\nepochs = 7\n')
    assert TrainConfig.read(path).epochs == 7


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("TUMORCLS_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("TUMORCLS_CACHE")
    assert cache_folder().name == "tumorcls"


def test_every_setting_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    split = TrainConfig.model_fields["split"].annotation
    names = [f"`{name}`" for name in TrainConfig.model_fields if name != "split"]
    names += [f"`split.{name}`" for name in split.model_fields]
    assert [name for name in names if name not in page] == []
