"""What do noise and augmentation cost? In a training step, and per image next to the seed project's way.

    python benchmarks/noise_cost.py

First, steps of the whole trainable EfficientNetB0 with and without our layers take turns in one process, so that both meet the
same machine. Second, the layers alone against NumPy noise per image and then Keras's `ImageDataGenerator`, as the notebook did:
the same images, noises, share of clean images and ranges, on the same cores. Prints both ratios and writes
`benchmarks/results/noise_cost.json`.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import ops
from keras.src.legacy.preprocessing.image import ImageDataGenerator  # no longer public, but what the notebook used

from tumorcls.model.backbone import build_backbone
from tumorcls.model.layers import RandomAugment
from tumorcls.noise.kinds import NOISES, SEED_NOISES, add_noise
from tumorcls.noise.layer import RandomNoise

RESULTS = Path(__file__).parent / "results" / "noise_cost.json"
ROTATION, SHIFT, CLEAN_SHARE, SIDE = 10.0, 0.05, 0.25, 150

Images = np.ndarray[Any, np.dtype[np.float32]]


def make_layers(noises: tuple[str, ...]) -> tuple[RandomAugment, RandomNoise]:
    augment, noise = RandomAugment(seed=0), RandomNoise(noises, CLEAN_SHARE, seed=1)
    augment.rotation.assign(ROTATION)
    augment.width_shift.assign(SHIFT)
    augment.height_shift.assign(SHIFT)
    augment.flip.assign(0.5)
    noise.max_intensity.assign(1.0)
    return augment, noise


def make_model(noises: tuple[str, ...] | None) -> keras.Model:
    """EfficientNetB0, all of it trainable; with our layers in front unless `noises` is None."""
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    x = ops.cast(inputs, "float32")
    if noises is not None:
        for layer in make_layers(noises):
            x = layer(x)
    outputs = keras.layers.Dense(4)(build_backbone(SIDE, "none")(x))
    model = keras.Model(inputs, outputs)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    return model


def time_in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, taking turns after one unmeasured call each; every second round goes backwards."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in list(runs) if repeat % 2 == 0 else reversed(list(runs)):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def training_steps(batch: Images, noises: tuple[str, ...], repeats: int) -> dict[str, list[float]]:
    images, labels = batch.astype(np.uint8), np.arange(len(batch)) % 4
    plain, noisy = make_model(None), make_model(noises)
    return time_in_turns(
        {
            "without": lambda: plain.train_on_batch(images, labels),
            "with": lambda: noisy.train_on_batch(images, labels),
        },
        repeats,
    )


def summing_model(inputs: keras.KerasTensor, images: keras.KerasTensor) -> keras.Model:
    """Ends where training would begin: the images are in the program, and only their sums are copied back."""
    model = keras.Model(inputs, ops.sum(images, axis=(1, 2, 3)))
    model.compile(jit_compile=False)
    return model


def layers_alone(batch: Images, noises: tuple[str, ...]) -> Callable[[], object]:
    augment, noise = make_layers(noises)
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    model = summing_model(inputs, _Always(noise)(_Always(augment)(ops.cast(inputs, "float32"))))
    images = batch.astype(np.uint8)
    return lambda: model.predict_on_batch(images)


class _Always(keras.layers.Layer):
    """Applies a layer as in training."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__()
        self.layer = layer

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        output: keras.KerasTensor = self.layer(inputs, training=True)
        return output


def notebook_noise(image: Images, noise: str, intensity: float, generator: np.random.Generator) -> Images:
    """Noise as notebooks write it: NumPy's default precision, and a draw for every channel."""
    largest = NOISES[noise].maximum * intensity
    if noise == "gaussian":
        noisy = image + generator.normal(0, largest, image.shape)
    elif noise == "speckle":
        noisy = image + image * generator.normal(0, largest, image.shape)
    else:
        u = generator.random(image.shape)
        noisy = np.where(u < largest / 2, 0.0, np.where(u > 1 - largest / 2, 1.0, image))
    clipped: Images = np.clip(noisy, 0, 1)
    return clipped


def on_the_host(batch: Images, noises: tuple[str, ...], add: Callable[..., Images]) -> Callable[[], object]:
    """NumPy noise image by image, then Keras's `ImageDataGenerator`."""
    generator = np.random.default_rng(0)
    inputs = keras.Input((SIDE, SIDE, 3), dtype="float32")
    model = summing_model(inputs, inputs)
    augmentation = ImageDataGenerator(
        rotation_range=ROTATION,
        width_shift_range=SHIFT,
        height_shift_range=SHIFT,
        horizontal_flip=True,
        fill_mode="constant",
        cval=0.0,
    )

    def run() -> object:
        noisy = np.empty_like(batch)
        for i, image in enumerate(batch):
            clean = generator.random() < CLEAN_SHARE
            noise = noises[generator.integers(len(noises))]
            noisy[i] = image if clean else 255 * add(image / 255, noise, generator.random(), generator)
        return model.predict_on_batch(next(augmentation.flow(noisy, batch_size=len(noisy), shuffle=False)))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="training steps of each kind")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    grey = np.random.default_rng(0).integers(0, 256, (arguments.batch, SIDE, SIDE, 1))
    batch = np.repeat(grey, 3, axis=3).astype(np.float32)

    def per_image(seconds: dict[str, list[float]]) -> dict[str, float]:
        return {name: 1e3 * median(values) / len(batch) for name, values in seconds.items()}

    alone = per_image(
        time_in_turns(
            {
                "ours": layers_alone(batch, SEED_NOISES),
                "seed": on_the_host(batch, SEED_NOISES, notebook_noise),
                "reference": on_the_host(batch, SEED_NOISES, add_noise),
            },
            21,
        )
    )
    all_noises = per_image(time_in_turns({"ours": layers_alone(batch, tuple(NOISES))}, 11))["ours"]
    step = per_image(training_steps(batch, SEED_NOISES, arguments.steps))
    result = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {keras.backend.backend()}",
        "load_at_end": os.getloadavg()[0],
        "batch": len(batch),
        "step_ms_per_image": step,
        "step_added": step["with"] / step["without"] - 1,
        "alone_ms_per_image": alone,
        "all_six_noises_ms_per_image": all_noises,
        "times_faster_than_seed": alone["seed"] / alone["ours"],
        "times_faster_than_reference": alone["reference"] / alone["ours"],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"training step, ms an image: {step['without']:.1f} without, {step['with']:.1f} with: "
        f"{step['with'] / step['without'] - 1:+.1%} (bar +10%)"
    )
    print(f"noise and augmentation alone, ms an image: {alone['ours']:.2f}; with all six noises {all_noises:.2f}")
    print(f"the seed's way: {alone['seed']:.2f}: ours is {result['times_faster_than_seed']:.1f} times faster (bar 3)")
    print(
        f"its way with our NumPy noise (float32, one draw for all channels): {alone['reference']:.2f}: "
        f"{result['times_faster_than_reference']:.1f} times"
    )


if __name__ == "__main__":
    main()
