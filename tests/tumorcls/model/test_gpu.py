"""What only a machine with a GPU can show, with either backend: `python -m pytest -m gpu`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from search.records.attributes import provenance_of, worker_of
from tumorcls.model.backend import gpu_name, keras_runs_on_jax

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or JAX would take here what the processes below need

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(gpu_name() is None, reason="needs a GPU that Keras's backend can use"),
]

TRAIN = """
import json, sys
from tumorcls.model.backend import gpu_name, select_backend
select_backend()
import numpy as np
from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import DeviceMemoryError
from tumorcls.model.program import TrainingProgram
changed = json.loads(sys.argv[1])
recipe = {"data": "x", "weights": "phantoms", "image_size": 64, "batch_size": 8, "precision": "float32", "views": 0}
config = TrainConfig.parse({**recipe, "trainable_from": "block5", **changed}, where="test")
program = TrainingProgram(config)
program.reset(config, 0)
count, size = 2 * config.batch_size, config.image_size
images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
targets = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
said = {"device": gpu_name()}
try:
    said["logits"] = program.predict_logits(images[:16]).tolist()
    program.set_learning_rate(1e-3)
    said["losses"] = [program.train_epoch(images, targets, np.arange(count), config.batch_size) for _ in range(2)]
    if program.frozen is not None:
        said["activations"] = program.frozen_activations(images[:16]).mean(axis=(1, 2)).tolist()
except DeviceMemoryError as error:
    said["error"] = str(error)
print(json.dumps(said))
"""

ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def start(environ=(), **changed):
    command = [sys.executable, "-c", TRAIN, json.dumps(changed)]
    return subprocess.Popen(command, env={**os.environ, **dict(environ)}, stdout=subprocess.PIPE, text=True)


def result(process):
    printed, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(printed.splitlines()[-1])


def assert_close(some, others):
    """Compares two runs. TF32 keeps 10 bits of what it multiplies, a thousandth, which some twenty layers add up."""
    for name in ("logits", "losses", "activations"):
        np.testing.assert_allclose(some[name], others[name], rtol=0.05, atol=0.05 * np.abs(others[name]).max(), err_msg=name)


def test_a_gpu_gives_what_a_cpu_does_within_rounding():
    on_gpu, on_cpu = result(start()), result(start(ON_CPU))
    assert (on_gpu["device"], on_cpu["device"]) == (gpu_name(), None)
    assert_close(on_gpu, on_cpu)


@pytest.mark.skipif(keras_runs_on_jax(), reason="JAX has nothing but XLA")
def test_it_gives_the_same_without_xla():
    assert_close(result(start({"TUMORCLS_XLA": "0"})), result(start()))


def test_steps_in_bfloat16_learn_as_those_in_float32_do():
    np.testing.assert_allclose(result(start(precision="mixed"))["losses"], result(start())["losses"], rtol=0.1)


def test_memory_that_runs_out_is_one_line():
    """Of a whole network's step on 1024 images of 600 pixels: 11 GiB for what its first convolution gives, of hundreds."""
    line = result(start(trainable_from="all", batch_norm="train", image_size=600, batch_size=1024))["error"]
    assert line.startswith(f"{gpu_name()}: its memory must hold a training step with batch_size = 1024; got: ")
    assert "\n" not in line


STUDY = """
[study]
name = "shared"
objective = "tumorcls.objective:BrainTumourObjective"
storage = "sqlite:///shared.db"
direction = "maximize"
trials = 4
workers_per_device = 2
[space]
learning_rate = { type = "float", low = 1e-4, high = 1e-2, log = true }
[sampler]
name = "random"
[objective]
data = "phantoms:120"
weights = "phantoms"
image_size = 64
trainable_from = "block7"
epochs = 2
noisy_images = 16
"""


def test_two_workers_share_a_gpu(tmp_path):
    """TensorFlow would take all of it for the first one, and the second would find no memory."""
    (tmp_path / "shared.toml").write_text(STUDY)
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    environ = {
        **os.environ,
        "TUMORCLS_CACHE": str(tmp_path / "cache"),
        "CUDA_VISIBLE_DEVICES": first,
        "PYTHONPATH": os.getcwd(),
    }
    command = [sys.executable, "-m", "search", "launch", "shared.toml", "--workers", "2"]
    subprocess.run(command, cwd=tmp_path, env=environ, check=True)
    import optuna

    trials = optuna.load_study(study_name="shared", storage=f"sqlite:///{tmp_path}/shared.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4, "none ran out of memory"
    assert {provenance_of(trial)["device"] for trial in trials} == {gpu_name()}
    assert {worker_of(trial) for trial in trials} == {0, 1}
