r"""Which pieces of a training recipe pay? The tuned recipe, and the same with one piece more, paired by seed.

    python -m benchmarks.recipe --output /tmp/recipe_block7
    python -m benchmarks.recipe --start head --rate 1e-2 --output /tmp/recipe_head
    python -m benchmarks.recipe --mirrored --unseen --parts test --pieces base "random filter" --output /tmp/recipe_filter
    python -m benchmarks.recipe --start block5 --rate 1e-3 --epochs 8 --mirrored --parts test \
        --pieces base "from block 6 on" "from block 7 on" "notebook's recipe" "notebook's recipe from block 5 on" \
        "mirror average" --output /tmp/recipe_depth

Trains on SARTAJ (in the folder TUMORCLS_DATA): 150 pixels, noise intensity 1.0, dropout .2, batch 32, Adam, a cosine, frozen
BatchNormalization, four cached views. Each run is measured on the validation and the test part by its macro-F1 on clean images
and by the mean over three noises at five severities; with `--unseen` also under what no training draws, at severity 3. What
changes predictions alone is measured on the models of the base and of the notebook's recipe, where they do not average mirror
images. With `--mirrored` all but that recipe do; it trains from block 7 or block 5 on, wherever the base begins.
Writes `OUTPUT.json` after each run, goes on from there when it is started again, and ends with the table `OUTPUT.txt`: means
over seeds, and differences to the base with a 95% interval (Student's t over the seeds, paired).
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from numpy.typing import NDArray

from benchmarks import kept
from search.results.statistics import mean_interval
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.evaluation.metrics import confusion_matrix, macro_f1
from tumorcls.model.backend import package_versions, select_backend
from tumorcls.noise.unseen import UNSEEN

if TYPE_CHECKING:  # they import Keras
    from benchmarks.held_out import Condition, HeldOut
    from tumorcls.data.dataset import Part
    from tumorcls.model.program import TrainingProgram

BASE = "base"
PARTS: "tuple[Part, ...]" = ("validation", "test")
SCORES = ("clean", "noisy", "unseen", "unlike filters", "motion_blur", "defocus_blur")
COLUMNS = tuple(f"{part} {score}" for part in PARTS for score in SCORES)
"""Of the table, as far as they were measured."""

UNSEEN_SEVERITY = 3
UNSEEN_KINDS = (*UNSEEN, "ghosting", "bias_field")
"""What was never seen when the runs that are kept were made: `tumorcls evaluate` has since measured `rician` too."""

FILTERS = ("motion_blur", "defocus_blur", "pixelate", "contrast_down")
"""What makes structures fainter, fine ones or all, as half of the random filters do."""


@dataclass(frozen=True)
class Piece:
    """What is changed of the base's training.

    Attributes:
        settings: Fields of a config.
        probed: The head begins as a logistic regression on the features of the first weights.
        layer_decay: Of the learning rate, for each block that lies before the head; the last block and what follows it are one.
        mixup: Both parameters of the beta distribution that a mix's share is drawn from; 0 mixes nothing.
        altered: What alters images before noise, of `benchmarks.altered_views.LAYERS`.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    probed: bool = False
    layer_decay: float = 1.0
    mixup: float = 0.0
    altered: str = ""


NOTEBOOK = {"epochs": 20, "learning_rate": 1e-3, "dropout": 0.5, "noise_intensity": 0.5, "mirror_average": False}

PIECES: dict[str, Piece] = {
    BASE: Piece(),
    "probed head": Piece(probed=True),
    "averaged weights": Piece({"schedule": "ema"}),
    "layer decay .3": Piece(layer_decay=0.3),
    "label smoothing .1": Piece({"label_smoothing": 0.1}),
    "mixup .2": Piece(mixup=0.2),
    "random filter": Piece(altered="random filter"),
    "augmix": Piece(altered="augmix"),
    "from block 6 on": Piece({"trainable_from": "block6", "epochs": 12, "learning_rate": 1.5e-3}),
    "from block 7 on": Piece({"trainable_from": "block7", "epochs": 12, "learning_rate": 2.8e-3}),
    "notebook's recipe": Piece({**NOTEBOOK, "trainable_from": "block7"}),
    "notebook's recipe from block 5 on": Piece({**NOTEBOOK, "trainable_from": "block5"}),
}


@dataclass(frozen=True)
class Run:
    """What one seed gave; `seconds` are of the training, 0 where a piece trains nothing of its own."""

    piece: str
    seed: int
    scores: dict[str, float]
    seconds: float


class Bench:
    """Data, and the programs of those pieces that are compiled into one."""

    def __init__(self, config: TrainConfig, parts: "Sequence[Part]" = PARTS, unseen: bool = False) -> None:
        from benchmarks.held_out import HeldOut
        from tumorcls.training.trainer import Trainer

        self.config = config
        self.trainer = Trainer.open(config, cache_folder())
        self.parts = {part: HeldOut(self.trainer, config, part) for part in parts}
        self._unseen = UNSEEN_KINDS if unseen else ()
        self._decayed: dict[float, TrainingProgram] = {}
        self._probe: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def run(self, name: str, seed: int, predictions: Sequence[str] = ()) -> Iterator[Run]:
        """Trains one model and gives its scores, and those that it has with each of `PREDICTIONS` that is named."""
        piece = PIECES[name]
        config = self.config.model_copy(update=dict(piece.settings))
        program = self._program(config, piece)
        started = time.perf_counter()
        self._train(program, config, piece, seed)
        seconds = time.perf_counter() - started
        yield Run(name, seed, self._scores(partial(_mirrored if config.mirror_average else _plain, program)), seconds)
        for other in predictions:
            predict = partial(PREDICTIONS[other], program)
            yield Run(other if name == BASE else f"{name}, {other}", seed, self._scores(predict), 0.0)

    def _program(self, config: TrainConfig, piece: Piece) -> "TrainingProgram":
        from tumorcls.model.program import TrainingProgram

        if piece.layer_decay == 1.0:
            return self.trainer.programs.get(config)
        if piece.layer_decay not in self._decayed:
            program = TrainingProgram(config)
            slow_down(program, piece.layer_decay)
            self._decayed[piece.layer_decay] = program
        return self._decayed[piece.layer_decay]

    def _train(self, program: "TrainingProgram", config: TrainConfig, piece: Piece, seed: int) -> None:
        """As `Trainer.fit` does it, with what a piece needs and without measuring."""
        from tumorcls.training.trainer import learning_rate_at

        train = self.trainer.images("train", config.image_size)
        rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
        mix_rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
        targets = train.targets(config.label_smoothing)
        program.reset(config, seed)
        if piece.probed:
            program.set_head(*self._probed_head(program))
        for epoch in range(config.epochs):
            inputs, wanted = self._view(program, config, epoch % config.views, piece.altered), targets
            if piece.mixup:
                inputs, wanted = mixed(inputs[:], targets, piece.mixup, mix_rng)
            program.set_learning_rate(learning_rate_at(config, epoch))
            program.train_epoch(inputs, wanted, rng.permutation(len(targets)), config.batch_size)

    def _view(self, program: "TrainingProgram", config: TrainConfig, view: int, altered: str = "") -> Any:
        from benchmarks.altered_views import altered_view
        from tumorcls.cache.arrays import ArrayCache
        from tumorcls.training.features import Features

        train = self.trainer.images("train", config.image_size)
        features = Features(program, ArrayCache(self.trainer.cache))
        if altered:
            return altered_view(features, config.view_recipe, train, view, altered)
        return features.training_view(config.view_recipe, train, view, config.views)

    def _probed_head(self, program: "TrainingProgram") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fits it on the features of all views, as a program with its first weights has them; the same for all seeds."""
        from tumorcls.training.linear_probe import fit_head

        if self._probe is None:
            views = [self._view(program, self.config, view)[:] for view in range(self.config.views)]
            features = np.concatenate([np.asarray(program._trained.predict(view, verbose=0)) for view in views])
            labels = self.trainer.images("train", self.config.image_size).labels
            self._probe = fit_head(features, np.tile(labels, self.config.views), self.config.views)
        return self._probe

    def _scores(self, predict: Callable[["HeldOut", Any], NDArray[Any]]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for name, part in self.parts.items():

            def f1_under(condition: "Condition", part: "HeldOut" = part) -> float:
                found = predict(part, condition).argmax(axis=1)
                return float(macro_f1(confusion_matrix(part.images.labels, found, len(part.images.classes))))

            clean, *noisy = map(f1_under, part.conditions)
            measured = {"clean": clean, "noisy": fmean(noisy)}
            if self._unseen:
                by_kind = {kind: f1_under((kind, UNSEEN_SEVERITY)) for kind in self._unseen}
                unlike = [value for kind, value in by_kind.items() if kind not in FILTERS]
                measured |= {"unseen": fmean(by_kind.values()), "unlike filters": fmean(unlike), **by_kind}
            scores |= {f"{name} {score}": value for score, value in measured.items()}
        return scores


def slow_down(program: "TrainingProgram", decay: float) -> None:
    """Has a program's optimizer, before its first step, take a share of the learning rate for what lies before the head.

    Block b of 7 learns at `decay` to the power of 8 - b, and what follows the last block as the last block does.
    """
    powers: dict[int, int] = {}
    for layer in program._trained.layers:
        block = int(layer.name[5]) if layer.name.startswith("block") else 7
        powers |= {id(variable): 8 - block for variable in layer.trainable_variables}
    shares = [decay ** powers.get(id(variable), 0) for variable in program._model.trainable_variables]
    optimizer = program._optimizer
    update_step = optimizer.update_step

    def slower(gradient: Any, variable: Any, learning_rate: Any) -> None:
        update_step(gradient, variable, learning_rate * shares[optimizer._get_variable_index(variable)])

    optimizer.update_step = slower


def mixed(
    rows: NDArray[np.float16], targets: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Mixes each row, and its target, with another one.

    Zhang et al., mixup, ICLR 2018; of activations: Verma et al., Manifold mixup, ICML 2019.
    """
    partners = rng.permutation(len(rows))
    share = rng.beta(alpha, alpha, len(rows)).astype(np.float32)
    of_rows = share.astype(np.float16).reshape(-1, *[1] * (rows.ndim - 1))
    of_targets = share[:, None]
    return (
        of_rows * rows + (np.float16(1) - of_rows) * rows[partners],
        of_targets * targets + (1 - of_targets) * targets[partners],
    )


def _plain(program: "TrainingProgram", part: "HeldOut", condition: Any) -> NDArray[np.float32]:
    return program.predict_logits(part.inputs(program, condition))


def _mirrored(program: "TrainingProgram", part: "HeldOut", condition: Any) -> NDArray[np.float32]:
    """Returns the mean of the logits of each image and of its mirror image."""
    both = [program.predict_logits(part.inputs(program, condition, mirrored=mirrored)) for mirrored in (False, True)]
    return (both[0] + both[1]) / np.float32(2)


def _with_batch_statistics(program: "TrainingProgram", part: "HeldOut", condition: Any) -> NDArray[np.float32]:
    """Returns logits with the trained blocks normalised by all images of a condition (Schneider et al., NeurIPS 2020).

    Half of each statistic is that of the images, half what it was in training.
    """
    import keras

    layers = [layer for layer in program._trained.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [layer.get_weights() for layer in layers]
    momenta = [layer.momentum for layer in layers]
    rows = np.asarray(part.inputs(program, condition)[:], np.float32)
    for layer in layers:
        layer.trainable, layer.momentum = True, 0.5
    for layer in layers:  # one after another: the statistics of a layer depend on those before
        others = [other for other in layers if other is not layer]
        for other in others:
            other.trainable = False
        layer.trainable = True
        program._trained(rows, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.trainable, layer.momentum = False, momentum
    logits = program.predict_logits(part.inputs(program, condition))
    for layer, weights in zip(layers, kept, strict=True):
        layer.set_weights(weights)
    return logits


PREDICTIONS = {"mirror average": _mirrored, "batch statistics": _with_batch_statistics}
"""What changes the predictions of a trained model alone."""


def table(runs: Sequence[Run]) -> str:
    """Returns a Markdown table: a line for each piece, its means and its differences to the base."""
    by_piece: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_piece.setdefault(run.piece, {})[run.seed] = run
    columns = [name for name in COLUMNS if all(name in run.scores for run in runs)]
    heads = ["piece", "seeds", *columns, *(f"{name}, less base" for name in columns), "seconds"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for piece, found in by_piece.items():
        base = by_piece.get(BASE, {})
        both = [seed for seed in sorted(found) if seed in base and piece != BASE]
        cells = [piece, str(len(found))]
        cells += [f"{fmean(run.scores[name] for run in found.values()):.4f}" for name in columns]
        for name in columns:
            gains = [found[seed].scores[name] - base[seed].scores[name] for seed in both]
            cells.append(difference(gains) if gains else "-")
        cells.append(f"{fmean(run.seconds for run in found.values()):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(gains: Sequence[float]) -> str:
    """Returns the mean of paired differences and half its 95% interval, in points of a hundred."""
    interval = mean_interval([100 * gain for gain in gains])
    return f"{interval.mean:+.2f}" + ("" if interval.half is None else f" ± {interval.half:.2f}")


def asked_of(config: TrainConfig, parts: "Iterable[Part]" = PARTS, unseen: bool = False) -> dict[str, Any]:
    """Returns what all runs of a file have in common."""
    return {"settings": kept.named(config.model_dump(mode="json")), "parts": sorted(parts), "unseen": unseen}


def write(path: Path, runs: Sequence[Run], asked: Mapping[str, Any]) -> None:
    """Writes all runs to `path`.json, and their table to `path`.txt."""
    kept.write_runs(path.with_suffix(".json"), asked, runs)
    settings = asked["settings"]
    base = f"from {settings['trainable_from']} on, {settings['epochs']} epochs at {settings['learning_rate']:g}"
    where = f"{kept.machine()}, {package_versions()}, {settings['weights']}, {', '.join(settings['data'])}"
    path.with_suffix(".txt").write_text(f"{base}; macro-F1, differences in points\n{table(runs)}\n{where}\n")


def read(path: Path, asked: Mapping[str, Any]) -> list[Run]:
    """Returns the runs that `write` left of what is asked; see `kept.read_runs`."""
    return [Run(**run) for run in kept.read_runs(path.with_suffix(".json"), asked)]


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    settings = {
        "data": arguments.data,
        "weights": arguments.weights,
        "image_size": arguments.image_size,
        "trainable_from": arguments.start,
        "epochs": arguments.epochs,
        "learning_rate": arguments.rate,
        "noise_intensity": 1.0,
        "dropout": 0.2,
        "mirror_average": arguments.mirrored,
    }
    return TrainConfig.parse(settings, where="benchmark")


def main() -> None:
    arguments = parse()
    config = config_of(arguments)
    asked = asked_of(config, arguments.parts, arguments.unseen)
    runs = read(arguments.output, asked)
    select_backend()
    bench = Bench(config, arguments.parts, arguments.unseen)
    for seed in range(arguments.seeds):
        for name in [piece for piece in arguments.pieces if piece in PIECES]:
            if any((run.piece, run.seed) == (name, seed) for run in runs):
                continue
            plain = (name == BASE and not arguments.mirrored) or "mirror_average" in PIECES[name].settings
            predictions = [piece for piece in arguments.pieces if piece in PREDICTIONS and plain]
            for run in bench.run(name, seed, predictions):
                runs.append(run)
                print(run, flush=True)
            write(arguments.output, runs, asked)
    print(table(runs))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe", description=__doc__.splitlines()[0])
    everything = [*PIECES, *PREDICTIONS]
    parser.add_argument("--start", default="block7", help="trainable_from")
    parser.add_argument("--rate", type=float, default=2.8e-3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pieces", nargs="+", choices=everything, default=everything)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--mirrored", action="store_true", help="mirror_average")
    parser.add_argument("--unseen", action="store_true", help="measure under what no training draws, too")
    parser.add_argument("--data", default=str(Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj"))
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"))
    parser.add_argument("--image-size", type=int, default=150)
    parser.add_argument("--output", type=Path, required=True, help="without an ending")
    return parser.parse_args()


if __name__ == "__main__":
    main()
