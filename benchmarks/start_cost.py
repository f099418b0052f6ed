"""What it costs to begin: CPU seconds of a fresh process until a first trial has ended, and until a saved model can be asked.

    python -m benchmarks.start_cost                              # ten minutes
    PYTHONPATH=OTHER_CHECKOUT python benchmarks/start_cost.py    # of another version, to compare

A head on 96 generated images of 64 pixels, one trial of four epochs, with an empty cache and then with what that has left in
it; each in a process of its own on one core, backends and repetitions in turn. CPU seconds rather than seconds, since whoever
else uses the machine takes the others. Prints medians and ranges.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

BACKENDS = ("tensorflow", "jax")
TRIAL = ("import Keras", "objective", "first trial")
PARTS = (*TRIAL, *(f"{part}, cache full" for part in TRIAL), "saved model")
CONFIG: dict[str, Any] = {"data": ["phantoms:96"], "weights": "phantoms", "image_size": 64, "trainable_from": "head"}
PARAMS = {"epochs": 4, "learning_rate": 1e-3, "dropout": 0.2, "batch_size": 32, "noise_intensity": 0.5}
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS")


def begin(model: Path) -> None:
    """Runs a first trial, or loads a model where there is one; prints what each part took."""
    import optuna

    from tumorcls.model.backend import select_backend
    from tumorcls.objective import BrainTumourObjective

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    marks = [time.process_time()]
    select_backend()
    import keras  # noqa: F401

    marks.append(time.process_time())
    if model.exists():
        from tumorcls.model.saved_model import load_model

        load_model(model)
    else:
        objective = BrainTumourObjective(artifacts=False, **CONFIG)
        marks.append(time.process_time())
        study = optuna.create_study(direction="maximize")
        study.enqueue_trial(PARAMS)
        study.optimize(objective, n_trials=1)
    marks.append(time.process_time())
    print(json.dumps([after - before for before, after in pairwise(marks)]))


def measure(backend: str) -> dict[str, float]:
    """Returns the CPU seconds of each of `PARTS`."""
    with tempfile.TemporaryDirectory() as folder:
        model, config = Path(folder, "model.keras"), Path(folder, "config.toml")
        environ = {**os.environ, **dict.fromkeys(THREADS, "1")}
        environ |= {"KERAS_BACKEND": backend, "TUMORCLS_CACHE": f"{folder}/cache"}

        def run(*command: str) -> str:
            done = subprocess.run([sys.executable, *command], env=environ, check=True, capture_output=True, text=True)
            return done.stdout

        def begun() -> list[float]:
            return list(json.loads(run(__file__, "--begin", str(model)).splitlines()[-1]))

        parts = [*begun(), *begun()]
        settings = {**CONFIG, "epochs": 1}
        config.write_text("\n".join(["[config]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items())]))
        run("-m", "tumorcls", "train", "--config", str(config), "-o", str(model))
        return dict(zip(PARTS, [*parts, begun()[1]], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--begin", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.begin:
        begin(arguments.begin)
        return
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(arguments.repeats):
        for backend in BACKENDS:
            for part, seconds in measure(backend).items():
                taken[part, backend].append(seconds)
    packages = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow-cpu", "jax"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {packages}")
    print(f"CPU seconds, median and range of {arguments.repeats}")
    print(f"{'':24}" + "".join(f"{backend:>24}" for backend in BACKENDS))
    for part in PARTS:
        cells = [taken[part, backend] for backend in BACKENDS]
        print(f"{part:24}" + "".join(f"{statistics.median(c):.2f} ({min(c):.2f} to {max(c):.2f})".rjust(24) for c in cells))


if __name__ == "__main__":
    main()
