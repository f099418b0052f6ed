"""What is measured side by side trains alike: a gain in precision of one alone would be taken for one of its loop."""

from collections import defaultdict

import keras
import pytest

from benchmarks import device_speed
from benchmarks.device_speed import Contest, file_name
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.program import TrainingProgram


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "dtype"), [("mixed", "bfloat16"), ("float32", "float32")])
def test_all_contenders_convolve_in_the_same_precision(monkeypatch, precision, dtype):
    settings = {"data": "none", "weights": "phantoms", "image_size": 32, "trainable_from": "block7", "batch_size": 8}
    config = TrainConfig.parse({**settings, "precision": precision}, where="test")
    contest = Contest(TrainingProgram(config), config, 8)
    seen, running = defaultdict(set), []
    convolve = keras.layers.Conv2D.call
    monkeypatch.setattr(
        keras.layers.Conv2D,
        "call",
        lambda self, inputs: seen[running[-1]].add(keras.backend.standardize_dtype(inputs.dtype)) or convolve(self, inputs),
    )
    for name, run in contest.contenders().items():
        running.append(name)
        run()
    assert seen == {name: {dtype} for name in ("here", "previous", "fit", "fit_many", "limit")}
    assert {layer.compute_dtype for layer in contest.program._trained.layers} == {"float32"}, "as it was before"


def test_what_is_compared_has_files_of_its_own():
    names = {file_name(gpu, precision) for gpu in (False, True) for precision in ("auto", "float32", "mixed")}
    assert len(names) == 6
    assert file_name(False, "auto") == f"device_speed_{device_speed.BACKEND}.txt", "the one that docs/speed.md links to"
