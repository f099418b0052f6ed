"""Which Keras backend runs, decided before Keras is imported."""

import importlib.util
import json
import os
from pathlib import Path

from tumorcls.errors import BackendError

_MODULES = {"tensorflow": "tensorflow", "jax": "jax"}

_MAX_COMPILED_BYTES = 2**30
"""Of compiled programs on disk; one of the whole network takes a few MB."""


def select_backend() -> str:
    """Makes sure that `import keras` will find a backend, and returns its name.

    `KERAS_BACKEND` decides where it is set, then Keras's own configuration file; where neither does and TensorFlow is not
    installed, JAX is taken.

    Raises:
        BackendError: The backend is not installed or not one that tumorcls runs on.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings would hide our own lines
    wanted = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if wanted is not None and wanted not in _MODULES:
        raise BackendError(f"KERAS_BACKEND: must be one of {', '.join(_MODULES)}; got {wanted!r}. Unset it or choose one.")
    for name in [wanted] if wanted else list(_MODULES):
        if importlib.util.find_spec(_MODULES[name]) is not None:
            os.environ["KERAS_BACKEND"] = name
            if name == "jax":
                _keep_compiled_programs()
            return name
    missing = wanted or "tensorflow"
    extra = "jax" if missing == "jax" else "cpu"
    raise BackendError(
        f"Keras backend: {missing} must be installed; it is not. "
        f"Run `pip install 'tumorcls[{extra}]'`" + (", or [cuda] for an NVIDIA GPU." if extra == "cpu" else ".")
    )


def _keep_compiled_programs() -> None:
    """Lets JAX keep what it compiled in the cache folder: the next process that needs the same program reads it from there."""
    from tumorcls.config import cache_folder

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MAX_COMPILED_BYTES))


def _configured_backend() -> str | None:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        backend = json.loads((home / "keras.json").read_text()).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    # Keras writes this file with its default on first use, so a backend that is not there is no choice of the user's.
    return backend if backend in _MODULES and importlib.util.find_spec(_MODULES[backend]) is not None else None
