"""What an earlier version wrote is still read: its study file, its exported config, and its model.

The files in `before/` were written before packages had rooms, on 26 November 2026. Of the model, which has 17 MB, there are the
card and the names and shapes of its weights; the values are drawn here, and what that version answered with them is below.
"""

import json
import zipfile
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from search.study_file.load import load
from tumorcls.config.file import read_config
from tumorcls.errors import ModelError
from tumorcls.model.model_file import parse_card
from tumorcls.model.saved_model import load_model

BEFORE = Path(__file__).parent / "before"

ANSWER = (0.30465084, 0.18118298, 0.28106207, 0.23310408)
"""Its probabilities for `picture()`, of the classes in the order of the card."""


def picture():
    rows, columns = np.mgrid[:48, :48]
    return ((np.hypot(rows - 24, columns - 20) < 15) * 120 + (rows * 7 + columns * 3) % 50).astype(np.uint8)


def restore(path):
    """Writes the model with weights that only depend on their names."""
    weights = path.with_suffix(".h5")
    with h5py.File(weights, "w") as file:
        for line in (BEFORE / "weights.txt").read_text().splitlines():
            layer, name, *shapes = line.split()
            group = file.create_group(f"{layer}/vars")
            group.attrs["name"] = name
            for index, shape in enumerate(shapes):
                if shape == "scalar":  # a count
                    group[str(index)] = np.int64(0)
                    continue
                size = tuple(map(int, shape.split("x")))
                draw = np.random.default_rng(zlib.crc32(f"{layer} {index}".encode()))
                values = draw.normal(0, np.sqrt(2 / np.prod(size[:-1])), size) if len(size) > 1 else draw.uniform(0.5, 1, size)
                group[str(index)] = values.astype(np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(weights, "model.weights.h5")
        archive.write(BEFORE / "tumorcls.json", "tumorcls.json")
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", "{}")
    return path


def test_its_model_answers_as_it_did(tmp_path):
    model = load_model(restore(tmp_path / "model.keras"))
    image = np.repeat(cv2.resize(picture(), (32, 32))[None, :, :, None], 3, axis=-1)
    np.testing.assert_allclose(model.predict(image), [ANSWER], atol=1e-4)
    assert model.calibration.temperature == pytest.approx(19.99884)
    assert model.provenance["exported"]["study"] == "small"


def test_its_config_trains_the_same():
    file = read_config(BEFORE / "best.toml")
    config = file.config
    assert (config.epochs, config.batch_size, config.noise_intensity, config.dropout) == (1, 8, 0.5, 0.25)
    assert (config.learning_rate, config.image_size, config.trainable_from) == (pytest.approx(0.01), 32, "all")
    assert config.split.validation == config.split.test == 0.25
    assert file.provenance["seed"] == 1170270045


def test_its_study_file_describes_the_same_study():
    spec = load(BEFORE / "small.toml")
    assert sorted(spec.space) == ["batch_size", "dropout", "epochs", "learning_rate", "noise_intensity"]
    assert (spec.name, spec.seed, spec.target) == ("small", 3, "tumorcls.objective:BrainTumourObjective")
    assert spec.settings["data"] == "phantoms:96"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "a model of format 1; got 2, of a later version of tumorcls. Install that version."),
        (
            {"format": 2, "provenance": {"tumorcls": "1.0"}},
            "a model of tumorcls 0.1.0 or earlier; got one of 1.0. Install tumorcls 1.0 or later.",
        ),
        ({"format": 0}, "a model saved by `tumorcls train`; format: Input should be 1. Train it again."),
    ],
)
def test_a_model_of_a_later_version_is_said_to_be_so(change, said):
    card = json.loads((BEFORE / "tumorcls.json").read_text())
    with pytest.raises(ModelError) as caught:
        parse_card(json.dumps({**card, **change}), None, "model.keras")
    assert str(caught.value) == f"model.keras: must be {said}"
