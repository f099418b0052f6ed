"""How fast does training go next to what the device can do?

    python -m benchmarks.device_speed [--quick]
    KERAS_BACKEND=jax python -m benchmarks.device_speed

Images a second of (a) this project's epoch, (b) the loop that it had before: NumPy slices, `train_on_batch`, the loss pulled
back after each step, dropout masks from Keras's generator, (c) plain Keras `fit`, as it is (fit) and with an epoch's steps in
one call (fit_many: `steps_per_execution`), and (d) the limit: a compiled step written by hand, whose input is already on the
device. All train the same layers on the same generated images or activations, in the same precision, and take turns; the
fastest of each one's turns counts. Where nothing is frozen, (a) to (d) hold noise and augmentation.

Most important things first: what does not fit in `--minutes` is left out, and said. Weights are random, or those that
TUMORCLS_WEIGHTS names. Prints the table and writes `benchmarks/results/device_speed_BACKEND.txt` (`_gpu` on one, and after it
`_float32` or `_mixed` where `--precision` says so).
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as select_backend does

import keras
import numpy as np
import psutil
from keras import ops

from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backend import device_name
from tumorcls.model.layers import mixed_precision
from tumorcls.model.program import TrainingProgram, is_mixed
from tumorcls.noise.counter_rng import random_uint16

BACKEND = keras.backend.backend()
RESULTS = Path(__file__).parent / "results"
STARTS = ("head", "block7", "all", "block5")
BATCHES = (32, 128, 16, 64)
HEAD_ROWS = 2272
SECONDS_OF_A_TURN = 0.3
RATE, LEARNING_RATE = 0.5, 1e-3

Run = Callable[[], object]


class PreviousDropout(keras.layers.Layer):
    """The dropout that `train_on_batch` ran: a float32 of Keras's generator for each number."""

    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1)
        self.rate = self.add_weight(shape=(), initializer=keras.initializers.Constant(RATE), trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        kept = keras.random.uniform(ops.shape(inputs), dtype=inputs.dtype, seed=self.seed_generator) >= self.rate
        return ops.where(kept, inputs / (1.0 - self.rate), 0.0)


class Contest:
    """One place where training begins, and one batch size."""

    def __init__(self, program: TrainingProgram, config: TrainConfig, batch: int) -> None:
        self.program, self.config, self.batch = program, config, batch
        self.steps = HEAD_ROWS // batch if config.trainable_from == "head" else 4
        rows = self.steps * batch
        generator = np.random.default_rng(0)
        if program.frozen is None:
            shape = (rows, config.image_size, config.image_size, 3)
            self.inputs: Any = generator.integers(0, 256, shape).astype(np.uint8)
        else:
            self.inputs = np.abs(generator.normal(0, 1, (rows, *program.frozen.output.shape[1:]))).astype(np.float16)
        self.targets = np.eye(4, dtype=np.float32)[np.arange(rows) % 4]
        self.order = generator.permutation(rows)
        program.reset(config, 1)
        program.set_learning_rate(LEARNING_RATE)

    def contenders(self) -> dict[str, Run]:
        fits = {"fit": self.fit(), "fit_many": self.fit(together=self.steps)}
        return {"here": self.here(), "previous": self.previous(), **fits, "limit": self.limit()}

    def here(self) -> Run:
        placed = self.program.place(self.inputs) or self.inputs
        return lambda: self.program.train_epoch(placed, self.targets, self.order, self.batch)

    def previous(self) -> Run:
        model = self._model(PreviousDropout())

        def epoch() -> float:
            losses = []
            for start in range(0, len(self.order), self.batch):
                rows = self.order[start : start + self.batch]
                losses.append(model.train_on_batch(self.inputs[rows], self.targets[rows]))
            return float(np.mean(losses))

        return epoch

    def fit(self, together: int = 1) -> Run:
        """Returns Keras's own loop, with so many steps in one call of it."""
        model = self._model(keras.layers.Dropout(RATE), together)
        return lambda: model.fit(self.inputs, self.targets, batch_size=self.batch, verbose=0)

    def _model(self, dropout: keras.layers.Layer, together: int = 1) -> keras.Model:
        """Returns the program's network with another dropout layer, compiled as Keras does it, in the program's precision."""
        logits = self.program._head(dropout(self.program._dropout.input))
        model = keras.Model(self.program._model.input, logits)
        call = model.call

        def in_precision(*args: Any, **kwargs: Any) -> Any:
            with self.precision():
                return call(*args, **kwargs)

        model.call = in_precision
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(LEARNING_RATE), loss=loss, steps_per_execution=together)
        return model

    def precision(self) -> AbstractContextManager[None]:
        """Returns a context in which steps are traced as the program's are."""
        return mixed_precision(self.program._trained.layers if is_mixed(self.config) else [])

    def limit(self) -> Run:
        from benchmarks import device_limit

        if self.config.trainable_from == "head":
            kernel = np.asarray(self.program._head.kernel)
            order = self.order.reshape(self.steps, self.batch).astype(np.int32)
            return device_limit.head_epoch(kernel, self.inputs, self.targets, order, random_uint16, RATE, LEARNING_RATE)
        rows, targets = self.inputs[: self.batch], self.targets[: self.batch]
        return device_limit.network_steps(self.program._model, rows, targets, self.steps, LEARNING_RATE, self.precision)


def in_turns(runs: dict[str, Run], seconds: float) -> dict[str, list[float]]:
    """Returns seconds of each run's epochs; they take turns, every second time backwards, for so many seconds each."""
    for run in runs.values():
        run()
        run()  # Keras compiles once more where a first step changes a variable's placement
    taken: dict[str, list[float]] = {name: [] for name in runs}
    while min(map(sum, taken.values())) < seconds or min(map(len, taken.values())) < 3:
        for name in list(runs) if len(taken["here"]) % 2 == 0 else reversed(list(runs)):
            begun = time.perf_counter()
            runs[name]()
            taken[name].append(time.perf_counter() - begun)
    return taken


def outside_steps(program: TrainingProgram, config: TrainConfig) -> float:
    """Returns seconds of a trial that pass before its first step: everything to its first value, data not counted."""
    taken = []
    for seed in range(3):
        begun = time.perf_counter()
        program.reset(config, seed)
        program.set_learning_rate(LEARNING_RATE)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def memory() -> str:
    """Returns what this process holds, and at most held of a GPU, in MiB."""
    host = psutil.Process().memory_info().rss / 2**20
    device = None
    if BACKEND == "jax":
        import jax

        device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            device = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return f"{host:6.0f} {'-' if device is None else format(device / 2**20, '.0f'):>6}"


def device() -> tuple[str, bool]:
    """Returns what trains, and whether it is a GPU."""
    if BACKEND == "jax":
        import jax

        return f"{device_name()}, JAX {jax.__version__}", jax.local_devices()[0].platform != "cpu"
    import tensorflow as tf

    return f"{device_name()}, TensorFlow {tf.__version__}", bool(tf.config.list_physical_devices("GPU"))


def file_name(gpu: bool, precision: str) -> str:
    """Returns what the table is written to, so that what is compared does not overwrite each other."""
    return f"device_speed_{BACKEND}{'_gpu' if gpu else ''}{'' if precision == 'auto' else f'_{precision}'}.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two minutes: batch 32 only")
    parser.add_argument("--minutes", type=float, help="nothing new begins after that; 8, or 2 with --quick")
    parser.add_argument("--size", type=int, help="side of the images; 150 on a GPU, 64 on a CPU")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--precision", choices=["auto", "float32", "mixed"], default="auto")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/device_speed_BACKEND.txt")
    arguments = parser.parse_args()
    began = time.monotonic()
    minutes = arguments.minutes or (2 if arguments.quick else 8)
    named, gpu = device()
    size = arguments.size or (150 if gpu else 64)
    weights = os.environ.get("TUMORCLS_WEIGHTS", "none")
    loads = [os.getloadavg()[0]]
    lines = [
        f"{'':7} {'batch':>5} {'here':>8} {'previous':>8} {'fit':>8} {'fit_many':>8} {'limit':>8}   {'times':>5}"
        f" {'of limit':>8} {'spread':>6} {'outside':>7} {'host':>6} {'GPU':>6}",
        f"{'':13} {'images a second':^44}   {'prev.':>5} {'':8} {'':6} {'s':>7} {'MiB':>6} {'MiB':>6}",
    ]
    programs: dict[str, TrainingProgram] = {}
    steps: dict[str, str] = {}
    left_out = []
    for batch in BATCHES[: 1 if arguments.quick else None]:
        for start in arguments.starts:
            if (time.monotonic() - began) / 60 > minutes * 0.8:
                left_out.append(f"{start} at {batch}")
                continue
            config = TrainConfig.parse(
                {
                    "data": "none",
                    "weights": weights,
                    "batch_norm": "train" if weights == "none" else "freeze",
                    "image_size": size,
                    "trainable_from": start,
                    "dropout": RATE,
                    "batch_size": batch,
                    "precision": arguments.precision,
                },
                where="benchmark",
            )
            if start not in programs:
                programs = {start: TrainingProgram(config)} if gpu else {**programs, start: TrainingProgram(config)}
            program = programs[start]
            steps[start] = f"{start} {'bfloat16' if is_mixed(config) else 'float32'}"
            contest = Contest(program, config, batch)
            taken = in_turns(contest.contenders(), SECONDS_OF_A_TURN * (1 if arguments.quick else 4))
            rows = contest.steps * batch
            speed = {name: rows / min(seconds) for name, seconds in taken.items()}
            spread = median(taken["here"]) / min(taken["here"]) - 1
            lines.append(
                f"{start:7} {batch:5}"
                + "".join(f" {speed[name]:8,.0f}" for name in taken)
                + f"   {speed['here'] / speed['previous']:5.1f} {speed['here'] / speed['limit']:8.0%} {spread:+6.0%}"
                + f" {outside_steps(program, config):7.3f} {memory()}"
            )
            print("\n".join(lines[-1:] if len(lines) > 3 else lines), flush=True)
    loads.append(os.getloadavg()[0])
    cores = len(os.sched_getaffinity(0))
    lines += [
        "",
        f"{named}, Keras {keras.__version__}, {platform.machine()}, {cores} cores, load {loads[0]:.1f} before and"
        f" {loads[1]:.1f} after, images of {size}x{size}, {(time.monotonic() - began) / 60:.1f} minutes",
        "The fastest turn of each counts; spread: how much longer the median of our own took.",
        f"Precision {arguments.precision}; steps of all five: {', '.join(steps.values())}.",
        *([f"Left out for want of time: {', '.join(left_out)}."] if left_out else []),
    ]
    print("\n".join(lines[lines.index("") :]))
    output = arguments.output or RESULTS / file_name(gpu, arguments.precision)
    output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
