"""Which Keras backend runs, decided before Keras is imported."""

import contextlib
import functools
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tumorcls.errors import BackendError
from tumorcls.model.backend_import import load
from tumorcls.model.keras_internals import serialize_without_tensorflow

if TYPE_CHECKING:
    import keras

    Network = TypeVar("Network", bound=keras.Model)

_BACKENDS = ("tensorflow", "jax")  # the first that is installed is taken

_PACKAGES = ("tumorcls", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy", "optuna")

_READABLE: dict[str, Callable[[Any], bool]] = {
    "floatx": lambda value: value in ("float16", "float32", "float64"),
    "epsilon": lambda value: isinstance(value, float),
    "image_data_format": lambda value: value in ("channels_last", "channels_first"),
    "backend": lambda value: isinstance(value, str),
}

_MAX_COMPILED_BYTES = 2**30
"""Of compiled programs on disk, and never more than a quarter of the cache; one of the whole network takes a few MB."""

_PLACED_ON_HOST = 64 * 2**20
"""On a CPU the device's memory is the host's, and the rows are there already, in the array cache."""

_SMALL_GPU_BYTES = 8 * 2**30

_BFLOAT16_CAPABILITY = 8
"""NVIDIA's Ampere: the first whose tensor cores take bfloat16."""

_XLA = "TUMORCLS_XLA"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NO_GPU = ("", "-1", "nodevfiles", "void", "none")  # a first word of that variable
_NVIDIA_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl")


def select_backend() -> str:
    """Makes sure that `import keras` will find a backend, and returns its name.

    `KERAS_BACKEND` decides where it is set, then Keras's own configuration file; where neither does and TensorFlow is not
    installed, JAX is taken.

    Raises:
        BackendError: The backend is not installed or not one that tumorcls runs on, or Keras's file or `TUMORCLS_XLA` is not
            what it must be.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings would hide our own lines
    os.environ.setdefault("KERAS_NNX_ENABLED", "false")  # Keras's own file may switch it on
    wanted = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if wanted is not None and wanted not in _BACKENDS:
        raise BackendError(f"KERAS_BACKEND: must be one of {', '.join(_BACKENDS)}; got {wanted!r}. Unset it or choose one.")
    if "keras" in sys.modules and (running := sys.modules["keras"].backend.backend()) not in _BACKENDS:
        raise BackendError(
            f"Keras: must run on one of {', '.join(_BACKENDS)}; got {running}, loaded before. Start a new process."
        )
    if os.environ.get(_XLA, "1") not in ("0", "1"):
        raise BackendError(
            f"{_XLA}: must be 0, which has TensorFlow not compile with XLA, or 1; got {os.environ[_XLA]!r}. Unset it."
        )
    for name in [wanted] if wanted else _BACKENDS:
        if importlib.util.find_spec(name) is not None:
            os.environ["KERAS_BACKEND"] = name
            if name == "jax":
                _keep_compiled_programs()
                load("keras")
                serialize_without_tensorflow()
            else:
                _take_quick_kernels()
                os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else it takes all of a GPU, and no one may join
                load("tensorflow", without=None if hasattr(sys, "ps1") else "jax")
            return name
    remedy = "'tumorcls[jax]'`." if wanted == "jax" else "'tumorcls[cpu]'`, or [cuda] for an NVIDIA GPU."
    raise BackendError(f"Keras backend: {wanted or 'tensorflow'} must be installed; it is not. Run `pip install {remedy}")


def _take_quick_kernels() -> None:
    """Has TensorFlow, which is not imported yet, use oneDNN's kernels on any x86 processor, unless the user says otherwise.

    By default it does so where there are AVX-512's or AVX's instructions for neural networks, and else convolves with code that
    uses neither AVX2 nor FMA, though both are there: see docs/speed.md.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _keep_compiled_programs() -> None:
    """Lets JAX keep what it compiled in the cache folder: the next process that needs the same program reads it from there."""
    from tumorcls.cache.folder import cache_folder, make_folder, max_bytes_of_environment

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
    with contextlib.suppress(OSError):  # else JAX makes it, for every account to read
        make_folder(cache_folder())
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(min(_MAX_COMPILED_BYTES, max_bytes_of_environment() // 4)))


def pin_settings() -> None:
    """Gives Keras the settings that networks here are built with, whatever its configuration file or a notebook says.

    Without it, ``channels_first`` builds networks that take no image, and another float type or epsilon gives other values.
    """
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)  # Keras's default
    keras.config.set_image_data_format("channels_last")


def placed_bytes() -> int:
    """Returns how many bytes of rows may stay in a device's memory: a quarter of a GPU's, and few where that is the host's.

    TensorFlow does not say how much memory a GPU has; there it is what a small one can spare.
    """
    gpu = _gpu()
    if gpu is None:
        return _PLACED_ON_HOST
    if keras_runs_on_jax():
        return int((gpu.memory_stats() or {}).get("bytes_limit", _SMALL_GPU_BYTES)) // 4
    return _SMALL_GPU_BYTES // 4


def gains_by_bfloat16() -> bool:
    """Returns whether the device is a GPU that multiplies bfloat16 faster than float32: compute capability 8 or more."""
    gpu = _gpu()
    if gpu is None:
        return False
    if keras_runs_on_jax():
        major = str(getattr(gpu, "compute_capability", "")).partition(".")[0]  # of an AMD GPU it is a name: gfx90a
        return major.isdecimal() and int(major) >= _BFLOAT16_CAPABILITY
    return bool(_details(gpu).get("compute_capability", (0, 0))[0] >= _BFLOAT16_CAPABILITY)


def device_name() -> str:
    """Returns what networks are computed on: what the backend calls its GPU, or a CPU of some kind."""
    return gpu_name() or f"CPU, {platform.machine()}"


def gpu_name() -> str | None:
    """Returns what the backend calls the GPU that networks are computed on; None where that is a CPU."""
    gpu = _gpu()
    if gpu is None:
        return None
    return str(gpu.device_kind if keras_runs_on_jax() else _details(gpu).get("device_name", "GPU"))


def device_notes() -> tuple[str, ...]:
    """Returns a line where there is a GPU and the backend computes on the CPU, of which it says nothing that would be seen."""
    listed = os.environ.get(_VISIBLE)
    if listed is None:
        named = any(map(os.path.exists, _NVIDIA_DEVICES))
    else:
        named = listed.partition(",")[0].strip().lower() not in _NO_GPU
    if not named or _gpu() is not None:
        return ()
    backend, remedy = "TensorFlow", "`pip install 'tumorcls[cuda]'`; with TF_CPP_MIN_LOG_LEVEL=0 it tells what it lacks"
    if keras_runs_on_jax():
        backend, remedy = "JAX", "a jax for CUDA, such as `pip install 'jax[cuda12]'`"
    return (
        f"there is a GPU, or {_VISIBLE} names one, but {backend} can use none and computes on the CPU. "
        f"It needs {remedy}. Set {_VISIBLE}= to compute on the CPU without this line",
    )


def uses_xla() -> bool:
    """Returns whether steps may be compiled by XLA: on TensorFlow not where `TUMORCLS_XLA` is 0, nor for Apple's GPUs."""
    if keras_runs_on_jax():
        return True
    return os.environ.get(_XLA) != "0" and not (sys.platform == "darwin" and _gpu() is not None)  # it has no compiler for Metal


def compiled_as_steps_are(network: "Network") -> "Network":
    """Returns a network of which Keras compiles predictions only where `uses_xla` says so; by itself it does on any GPU."""
    if not uses_xla():
        network.jit_compile = False
    return network


def is_tensorflow_on_cpu() -> bool:
    """Returns whether Keras, once imported, computes with TensorFlow's own kernels for CPUs, a layer after the other."""
    return not keras_runs_on_jax() and _gpu() is None


def keras_runs_on_jax() -> bool:
    """Returns whether Keras, once imported, runs on JAX; on TensorFlow else."""
    import keras

    return bool(keras.backend.backend() == "jax")


def _gpu() -> Any | None:
    """Returns the first GPU as the backend that runs knows it, if there is one."""
    if keras_runs_on_jax():
        import jax

        device = jax.local_devices()[0]
        return None if device.platform == "cpu" else device
    import tensorflow as tf

    return next(iter(tf.config.list_physical_devices("GPU")), None)


def _details(gpu: Any) -> dict[str, Any]:
    """Returns what TensorFlow knows of a GPU, where it knows that."""
    import tensorflow as tf

    details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
    return details


def _configured_backend() -> str | None:
    """Returns the backend of Keras's own file; None where there is none, or none that Keras would read.

    Keras writes the file with its default on first use, so a backend that is not there is no choice of the user's.

    Raises:
        BackendError: Keras would end in a traceback over it.
    """
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    try:
        settings = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except (OSError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "nested too deeply"
        raise BackendError(f"{path}: must be readable, since Keras reads it; got: {reason}. Mend or remove it.") from None
    if not isinstance(settings, dict):
        raise BackendError(f"{path}: must be a table of Keras's settings; got {type(settings).__name__}. Remove the file.")
    for name, fits in _READABLE.items():
        if name in settings and not fits(settings[name]):
            raise BackendError(
                f"{path}: {name}: must be what Keras can read; got {str(settings[name])[:40]!r}. Remove the file."
            )
    backend = settings.get("backend")
    return backend if backend in _BACKENDS and importlib.util.find_spec(backend) is not None else None


@functools.cache  # looking them up takes longer than an epoch of the head
def package_versions() -> dict[str, str]:
    """Returns the versions of the packages that decide a result, where they are installed."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
