"""The weights that ship with the package: `weights = "phantoms"`."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.patience import PATIENCE_S
from tumorcls.model.backbone import PHANTOM_WEIGHTS

REPOSITORY = Path(__file__).parents[3]
SHA256 = "aee2460d5ea42df2f46da3d8663aa7118d2818e4fba8831f5d55e3e4cde1954c"
LOADED_SHA256 = "2511cad008037d06b63ab7f15db71d657efa66ae9035894ac7591c0e02ba2780"
"""Of the network's weights as single-precision numbers; a counter of Keras's has another type on JAX."""

TRANSFER = """
import hashlib
import numpy as np
from sklearn.linear_model import LogisticRegression
from tumorcls.model.backend import select_backend
select_backend()
from benchmarks.phantom_weights import draw
from tumorcls.model.backbone import build_backbone
backbone = build_backbone(64, "phantoms")
pictures, labels = draw(400, 64, seed=0)
features = np.concatenate([backbone.predict_on_batch(chunk) for chunk in np.split(pictures, 4)])
fitted = LogisticRegression(max_iter=2000).fit(features[:200], labels[:200])
loaded = b"".join(weight.astype("float32").tobytes() for weight in backbone.get_weights())
print(hashlib.sha256(loaded).hexdigest(), fitted.score(features[200:], labels[200:]))
"""


def test_the_file_is_the_one_that_was_measured_and_small():
    content = PHANTOM_WEIGHTS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256
    assert len(content) <= 9_000_000


def test_kernels_are_in_half_precision_and_the_file_says_where_it_comes_from():
    kinds = {}
    with h5py.File(PHANTOM_WEIGHTS) as file:
        file.visititems(lambda name, item: kinds.update({name: str(item.dtype)}) if isinstance(item, h5py.Dataset) else None)
        assert dict(file.attrs) == {
            "license": "MIT, as the package",
            "made_by": "benchmarks/phantom_weights.py",
            "trained_on": "images that tumorcls.data.phantom draws, from random weights",
        }
    assert sum(kind == "float16" for kind in kinds.values()) == 81
    assert sum(kind == "float32" for kind in kinds.values()) > 200


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_both_backends_load_the_same_numbers_and_their_features_tell_the_classes_of_other_phantoms(backend):
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", TRANSFER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    loaded, accuracy = done.stdout.split()[-2:]
    assert loaded == LOADED_SHA256
    assert float(accuracy) > 0.8


@pytest.fixture
def eager(monkeypatch):
    """Has Keras train step by step: to compile the training of the whole network, for each stage anew, takes minutes."""
    import keras

    compile_model = keras.Model.compile
    monkeypatch.setattr(keras.Model, "compile", lambda *args, **kwargs: compile_model(*args, **kwargs, run_eagerly=True))


@pytest.mark.slow
def test_the_script_trains_stage_by_stage_and_writes_weights_that_load(tmp_path, eager):
    from benchmarks.phantom_weights import STAGES, Stage, train
    from tumorcls.model.backbone import build_backbone, weights_sha256

    target = tmp_path / "weights.h5"
    stages = [Stage(32, 8, 1, 1e-3, noise=0.3), Stage(48, 4, 1, 1e-3, noise=0.0)]
    train(target, stages[:1], first=0, seed=3)
    after_first = weights_sha256(build_backbone(32, str(target)))
    train(target, stages, first=1, seed=3)
    loaded = build_backbone(48, str(target))
    assert loaded.output_shape == (None, 1280)
    assert weights_sha256(loaded) != after_first
    assert all(stage.images % 4 == 0 for stage in STAGES), "as many of each class"
