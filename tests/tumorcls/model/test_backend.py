import importlib.util
import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tumorcls.cli import COMMANDS
from tumorcls.errors import BackendError
from tumorcls.model import backend, backend_import
from tumorcls.model.backend import device_name, device_notes, gains_by_bfloat16, gpu_name, select_backend

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Returns a function that sets which backends there are, with none chosen."""
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what `select_backend` sets must not reach other tests
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def have(*names):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in names else None)

    return have


def test_no_backend_names_the_extra_that_brings_one(installed, monkeypatch):
    installed()
    with pytest.raises(BackendError, match=r"tumorcls\[cpu\]") as caught:
        select_backend()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(BackendError, match=r"tumorcls\[jax\]"):
        select_backend()


def test_tensorflow_is_taken_first_and_jax_where_it_is_alone(installed, monkeypatch):
    installed("tensorflow", "jax")
    assert select_backend() == "tensorflow"
    monkeypatch.delenv("KERAS_BACKEND")
    installed("jax")
    assert select_backend() == "jax"
    assert os.environ["KERAS_BACKEND"] == "jax"


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "aarch64", "arm64"])
@pytest.mark.parametrize("said", [None, "0", "1"])
def test_tensorflow_takes_quick_kernels_on_x86_unless_the_user_says_otherwise(installed, monkeypatch, machine, said):
    installed("tensorflow")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if said is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", said)
    select_backend()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == (said or ("1" if machine in ("x86_64", "AMD64") else None))


def test_a_word_for_xla_that_is_neither_is_one_line(installed, monkeypatch):
    installed("tensorflow")
    monkeypatch.setenv("TUMORCLS_XLA", "false")
    with pytest.raises(BackendError, match=r"^TUMORCLS_XLA: must be 0, .*, or 1; got 'false'\. Unset it\.$"):
        select_backend()


@pytest.mark.parametrize(("said", "taken"), [(None, "true"), ("false", "false")])
def test_tensorflow_takes_as_much_of_a_gpu_as_it_needs_unless_the_user_says_otherwise(installed, monkeypatch, said, taken):
    """It reads that variable when it first uses the GPU; without it a second process on the GPU finds no memory."""
    installed("tensorflow")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    if said is not None:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", said)
    imported = []
    monkeypatch.setattr(backend, "load", lambda *_, **__: imported.append(os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH")))
    select_backend()
    assert imported == [taken]


@pytest.mark.slow
def test_whatever_kernels_tensorflow_takes_it_says_nothing_of_them():
    code = (
        "from tumorcls.model.backend import select_backend\nselect_backend()\nimport numpy as np\n"
        "from tumorcls.config.train_config import TrainConfig\nfrom tumorcls.model.program import TrainingProgram\n"
        "config = TrainConfig.parse({'data': 'x', 'weights': 'phantoms', 'trainable_from': 'head', 'image_size': 32}, '')\n"
        "program = TrainingProgram(config)\nprogram.reset(config, 0)\n"
        "rows, targets = np.ones((64, 1280), np.float16), np.eye(4, dtype=np.float32)[np.arange(64) % 4]\n"
        "placed, placed_parts = program.place(rows), program.place_parts([rows])\n"
        "print([bool(np.isfinite(program.train_epoch(given, targets, np.arange(64), 8))) for given in (rows, placed)])\n"
        "print([program.predict_logits(given).shape for given in (rows, placed_parts)])\n"
    )
    environ = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "[True, True]\n[(64, 4), (64, 4)]\n"


@needs_jax
@pytest.mark.slow
def test_jax_keeps_compiled_programs_for_the_next_process(tmp_path):
    code = "from tumorcls.model.backend import select_backend\nselect_backend()\nimport jax\njax.jit(lambda x: x + 1)(1)"
    kept = []
    for _ in range(2):
        run_on_jax(code, tmp_path)
        kept.append({path.name for path in (tmp_path / "jax").glob("*-cache")})
    assert len(kept[0]) > 0
    assert kept[0] == kept[1]


@needs_jax
@pytest.mark.slow
def test_jax_compiles_one_training_step_for_each_batch_size_and_one_prediction(tmp_path):
    from tumorcls.model.backbone import build_backbone

    weights = tmp_path / "random.weights.h5"
    build_backbone(32, "none").save_weights(weights)  # random weights are drawn and calibrated slowly on JAX
    code = (
        "import sys\nfrom tumorcls.model.backend import select_backend\nselect_backend()\n"
        "import numpy as np\nfrom tumorcls.config.train_config import TrainConfig\n"
        "from tumorcls.model.program import TrainingProgram\n"
        "config = TrainConfig.parse({'data': 'x', 'weights': sys.argv[1], 'trainable_from': 'head', 'image_size': 32}, '')\n"
        "program = TrainingProgram(config)\nprogram.reset(config, 0)\n"
        "rows, targets = np.ones((30, 1280), np.float16), np.eye(4, dtype=np.float32)[np.arange(30) % 4]\n"
        "for count, batch_size in ((30, 8), (28, 8), (25, 5)):\n"
        "    program.train_epoch(rows, targets, np.arange(count), batch_size)\n"
        "    program.predict_logits(rows[:count])\n"
    )
    run_on_jax(code, tmp_path, str(weights))
    names = [path.name for path in (tmp_path / "jax").glob("*-cache")]
    assert sum("train_steps" in name for name in names) == 2
    assert sum("predict_batches" in name for name in names) == 1


def run_on_jax(code, cache, *arguments):
    environ = {"KERAS_BACKEND": "jax", "TUMORCLS_CACHE": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    subprocess.run([sys.executable, "-c", code, *arguments], env={**os.environ, **environ}, capture_output=True, check=True)


def test_the_users_choice_counts(installed, monkeypatch, tmp_path):
    installed("tensorflow", "jax")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert select_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(BackendError, match="got 'torch'"):
        select_backend()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"floatx": "float8"}', "floatx"),
        ('{"floatx": []}', "floatx"),
        ('{"epsilon": "small"}', "epsilon"),
        ('{"image_data_format": "first"}', "image_data_format"),
        ('{"backend": 7}', "backend"),
        ("[]", "must be a table"),
        ("7", "must be a table"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_keras_cannot_read_is_one_line(installed, tmp_path, text, words):
    installed("tensorflow", "jax")
    (tmp_path / "keras.json").write_text(text)
    with pytest.raises(BackendError, match=words) as caught:
        select_backend()
    assert "\n" not in str(caught.value)
    assert "keras.json" in str(caught.value)


def test_a_file_that_cannot_be_opened_is_one_line(installed, tmp_path):
    installed("tensorflow")
    (tmp_path / "keras.json").mkdir()
    with pytest.raises(BackendError, match=r"keras\.json: must be readable"):
        select_backend()


@pytest.mark.parametrize("content", [b"", b"{", b"\xef\xbb\xbf{}", b"\xff\xfe"])
def test_a_file_that_keras_passes_over_is_passed_over(installed, tmp_path, content):
    installed("tensorflow")
    (tmp_path / "keras.json").write_bytes(content)
    assert select_backend() == "tensorflow"


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """Returns a network's answer where Keras's file says nothing."""
    return built(tmp_path_factory.mktemp("plain"), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    "told",
    [
        {"image_data_format": "channels_first", "floatx": "float16", "backend": "torch", "nnx_enabled": True},
        {"floatx": "float64", "epsilon": 0.1},
    ],
)
def test_networks_are_the_same_whatever_kerass_file_says(tmp_path, told, answer):
    assert built(tmp_path, told) == answer


def built(home, told):
    """Returns a network's answer in a process with this `keras.json`."""
    (home / "keras.json").write_text(json.dumps(told))
    code = (
        "from tumorcls.model.backend import select_backend\nselect_backend()\nimport numpy as np\n"
        "from tumorcls.config.train_config import TrainConfig\nfrom tumorcls.model.program import TrainingProgram\n"
        "from keras.src.applications import efficientnet\n"
        "efficientnet.DEFAULT_BLOCKS_ARGS = efficientnet.DEFAULT_BLOCKS_ARGS[:3]\n"  # of the same kinds as all seven
        "config = TrainConfig.parse({'data': 'x', 'weights': 'none', 'batch_norm': 'train', 'trainable_from': 'block3',"
        " 'image_size': 32, 'views': 0}, '')\n"
        "program = TrainingProgram(config)\nprogram.reset(config, 0)\n"
        "images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)\n"
        "loss = program.train_epoch(images, np.eye(4, dtype=np.float32)[np.arange(8) % 4], np.arange(8), 8)\n"
        "print(loss, program.predict_logits(images).tolist())"
    )
    environ = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | {"KERAS_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=lambda a: a[0])
def test_help_waits_for_no_backend(arguments):
    code = (
        "import sys, time\nfrom tumorcls.cli import main\nsys.argv = ['tumorcls', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'keras', 'tensorflow', 'jax', 'sklearn'} & set(sys.modules)), time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded, seconds = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert loaded == "[]"
    assert float(seconds) < 5, "a backend takes longer to import"
    assert "Usage: tumorcls" in done.stdout


@pytest.fixture
def on_device(monkeypatch):
    """Returns a function that puts a GPU, or None, in the place of what Keras's backend finds."""

    def put(gpu, jax=True, **details):
        monkeypatch.setattr(backend, "_gpu", lambda: gpu)
        monkeypatch.setattr(backend, "keras_runs_on_jax", lambda: jax)
        monkeypatch.setattr(backend, "_details", lambda _: details)

    return put


@pytest.mark.parametrize(
    ("capability", "gains"),
    [("8.0", True), ("8.6", True), ("10.0", True), ("7.5", False), ("gfx90a", False), ("gfx1100", False), (None, False)],
)
def test_bfloat16_gains_from_compute_capability_8_on_whatever_a_gpu_calls_its_own(on_device, capability, gains):
    on_device(SimpleNamespace() if capability is None else SimpleNamespace(compute_capability=capability))
    assert gains_by_bfloat16() is gains
    known = capability is not None and capability[0].isdecimal()
    details = {"compute_capability": tuple(map(int, capability.split(".")))} if known else {}
    on_device(object(), jax=False, **details)
    assert gains_by_bfloat16() is gains


def test_a_device_has_a_name(on_device):
    on_device(None)
    assert device_name() == f"CPU, {platform.machine()}"
    assert gpu_name() is None
    on_device(SimpleNamespace(device_kind="NVIDIA H200"))
    assert device_name() == gpu_name() == "NVIDIA H200"
    on_device(object(), jax=False, device_name="NVIDIA A100")
    assert device_name() == "NVIDIA A100"


@pytest.mark.parametrize("jax", [False, True])
@pytest.mark.parametrize(
    ("visible", "driver", "told"),
    [
        ("0", False, True),
        ("GPU-0000-aa,1", False, True),
        (None, True, True),
        (None, False, False),
        *((none, True, False) for none in ("", " ", "-1", "-1,0", "NoDevFiles", "void", "None")),
    ],
)
def test_a_gpu_that_cannot_be_used_is_told_and_a_wanted_cpu_is_not(
    on_device, monkeypatch, tmp_path, visible, driver, told, jax
):
    on_device(None, jax)
    monkeypatch.setattr(backend, "_NVIDIA_DEVICES", (str(tmp_path / "none"), str(tmp_path if driver else tmp_path / "no")))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    notes = device_notes()
    assert len(notes) == told
    for note in notes:
        assert ("JAX" if jax else "TensorFlow") in note
        assert ("jax[cuda12]" if jax else "tumorcls[cuda]") in note
        assert "Set CUDA_VISIBLE_DEVICES= to" in note
    on_device(object(), jax)
    assert device_notes() == (), "it is used"


@pytest.mark.parametrize(
    ("said", "system", "gpu", "jax", "uses"),
    [
        (None, "linux", True, False, True),
        ("1", "linux", True, False, True),
        ("0", "linux", True, False, False),
        ("0", "linux", True, True, True),
        (None, "darwin", True, False, False),
        (None, "darwin", False, False, True),
    ],
)
def test_xla_is_used_unless_the_user_says_otherwise_or_the_gpu_is_apples(on_device, monkeypatch, said, system, gpu, jax, uses):
    monkeypatch.delenv("TUMORCLS_XLA", raising=False)
    if said is not None:
        monkeypatch.setenv("TUMORCLS_XLA", said)
    monkeypatch.setattr(sys, "platform", system)
    on_device(object() if gpu else None, jax)
    assert backend.uses_xla() is uses


LOUD = """
import os
os.write(2, b"I0000 00:00:1.0 1 port.cc:153] hello\\nW0000 00:00:1.0 1 gpu.cc:9] no GPU is used\\n")
"""


@pytest.mark.parametrize("broken", [False, True])
def test_what_a_backend_greets_with_is_not_shown_and_its_warnings_are(tmp_path, broken):
    (tmp_path / "tensorflow.py").write_text(LOUD + ("raise ImportError" if broken else ""))
    code = "from tumorcls.model.backend import select_backend; import os; select_backend(); os.write(2, b'after')"
    environ = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == "W0000 00:00:1.0 1 gpu.cc:9] no GPU is used\nafter"


def test_it_is_imported_where_nobody_reads_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text(LOUD)
    monkeypatch.syspath_prepend(tmp_path)
    stderr = os.dup(2)
    reading, writing = os.pipe()
    try:
        os.dup2(writing, 2)
        os.close(reading)
        backend_import.load("loud")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(writing)
    assert sys.modules.pop("loud")


def test_no_room_for_temporary_files_is_one_line(no_temporary_folder):
    with pytest.raises(
        BackendError, match=r"^loud: a folder for temporary files must have room; got No usable.*\. Set TMPDIR to one"
    ):
        backend_import.load("loud")


LARGE = """
import gc
collected = gc.isenabled()
kept = [[] for _ in range(20_000)]
"""


@pytest.mark.parametrize("in_notebook", [False, True])
@pytest.mark.parametrize("collects", [False, True])
def test_garbage_is_not_looked_for_in_what_a_backend_made(tmp_path, collects, in_notebook):
    (tmp_path / "tensorflow.py").write_text(LARGE)
    code = (
        f"import gc, sys; from tumorcls.model.backend import select_backend; gc.{'enable' if collects else 'disable'}()\n"
        f"{'sys.ps1 = 1' if in_notebook else ''}\nselect_backend()\n"
        "import tensorflow; print(tensorflow.collected, gc.isenabled(), gc.get_freeze_count() >= 20_000)"
    )
    environ = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"False {collects} {not in_notebook}\n"


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_scikit_learn_is_imported_when_its_wrappers_are_used(backend):
    code = (
        "import sys; from tumorcls.model.backend import select_backend; select_backend()\n"
        "import keras; from keras import wrappers\n"
        "seen = ['sklearn' in sys.modules]; keras.wrappers.SKLearnRegressor; seen.append('sklearn' in sys.modules)\n"
        "print(*seen, issubclass(wrappers.SKLearnClassifier, sys.modules['sklearn'].base.ClassifierMixin))"
    )
    environ = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "False True True\n"


@needs_jax
@pytest.mark.parametrize("in_notebook", [False, True])
def test_tensorflow_does_not_load_jax_which_can_be_imported_after_it(in_notebook):
    code = (
        f"import sys; {'sys.ps1 = 1; ' if in_notebook else ''}from tumorcls.model.backend import select_backend\n"
        "select_backend(); import keras; loaded = 'jax' in sys.modules\n"
        "import jax; print(keras.backend.backend(), loaded, jax.numpy.arange(3).sum())"
    )
    environ = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"tensorflow {in_notebook} 3\n"


@needs_jax
@pytest.mark.parametrize("in_notebook", [False, True])
def test_jax_does_not_load_tensorflow_which_can_be_imported_after_it(in_notebook, tmp_path):
    pytest.importorskip("tensorflow")
    code = (
        f"import sys; {'sys.ps1 = 1; ' if in_notebook else ''}from tumorcls.model.backend import select_backend\n"
        "select_backend(); import keras; model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "keras.models.clone_model(model).save(sys.argv[1]); loaded = 'tensorflow' in sys.modules\n"
        "import tensorflow as tf; print(keras.backend.backend(), loaded, int(tf.reduce_sum(tf.range(3))))"
    )
    environ = {**os.environ, "KERAS_BACKEND": "jax", "TUMORCLS_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"jax {in_notebook} 3\n"
