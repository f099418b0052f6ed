"""docs/tutorial.md, "The model in Python": its code is run on a model and a picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from PIL import Image

from tumorcls.evaluation.record import Evaluation
from tumorcls.inference.predict import NO_SLICE, UNCERTAIN

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_code_for_python_runs_with_tumorcls_and_with_keras_alone(untrained, tmp_path, monkeypatch):
    with_tumorcls, _, with_keras, thawing = CODE
    monkeypatch.chdir(tmp_path)
    untrained.save("model.keras")
    grey = np.random.default_rng(0).integers(0, 256, (32, 24)).astype(np.uint8)
    Image.fromarray(grey).resize((24 * 4, 32 * 4), Image.Resampling.NEAREST).save("scan.png")
    runs, alone = with_tumorcls.replace(".jpg", ".png"), (with_keras + thawing).replace(".jpg", ".png")
    scope = {}
    exec(runs, scope)
    said, shares = scope["one"], scope["shares"]
    assert said.answer in (*untrained.classes, UNCERTAIN, NO_SLICE)
    assert shares == pytest.approx(said.probabilities, abs=1e-4)
    assert scope["answer"] == said.answer
    alone += (
        "\nimport sys\nassert not [name for name in sys.modules if name.startswith('tumorcls')]\n"
        "assert {type(layer).__name__ for layer in network.layers if layer.weights and not layer.trainable} == "
        "{'BatchNormalization'}\nprint({name: float(share) for name, share in shares.items()})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", alone],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert eval(done.stdout.splitlines()[-1]) == pytest.approx(said.probabilities, abs=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_programs")
def test_the_code_for_python_trains_and_measures(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    Path("best.toml").write_text(tomli_w.dumps({"config": make_config(epochs=2).model_dump(mode="json")}))
    scope = {}
    exec(CODE[1], scope)
    assert len(scope["losses"]) == 2
    assert Evaluation.read(Path("test.json")) == scope["evaluation"]
