import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

from benchmarks.held_out import HeldOut
from benchmarks.recipe import (
    COLUMNS,
    PIECES,
    UNSEEN_KINDS,
    Bench,
    Piece,
    Run,
    asked_of,
    difference,
    mixed,
    read,
    slow_down,
    table,
    write,
)
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.program import TrainingProgram
from tumorcls.training.features import Features

MEASURED = ("validation clean", "validation noisy", "test clean", "test noisy")


def run(piece, seed, score):
    return Run(piece, seed, dict.fromkeys(MEASURED, score), 1.0)


RUNS = [run("base", 0, 0.70), run("base", 1, 0.72), run("mixup .2", 0, 0.71), run("mixup .2", 1, 0.75), run("mixup .2", 2, 0.9)]


def test_the_mean_of_the_unseen_is_over_what_it_was_over_when_the_kept_runs_were_made():
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "recipe_filter.json"
    for kept in json.loads(path.read_text())["runs"]:
        measured = [kept["scores"][f"test {kind}"] for kind in UNSEEN_KINDS]
        assert kept["scores"]["test unseen"] == pytest.approx(np.mean(measured))
        assert len(kept["scores"]) == 4 + len(UNSEEN_KINDS)


def test_differences_are_in_points_and_of_seeds_that_have_both():
    assert difference([0.01, 0.03]) == "+2.00 ± 12.71", "Student's t with one degree of freedom"
    assert difference([-0.01]) == "-1.00"
    base, mixup = (line.split(" | ") for line in table(RUNS).splitlines()[2:])
    assert base[1:7] == ["2", *["0.7100"] * 4, "-"]
    assert mixup[1:7] == ["3", *["0.7867"] * 4, "+2.00 ± 12.71"]


def test_the_table_shows_what_all_runs_have():
    head = table(RUNS).splitlines()[0]
    assert [name for name in COLUMNS if f"| {name} |" in head] == list(MEASURED)
    everything = Run("base", 3, dict.fromkeys(COLUMNS, 0.5), 1.0)
    assert all(f"| {name} | " in table([everything]) for name in COLUMNS)
    assert [name for name in COLUMNS if f"| {name} |" in table([everything, *RUNS]).splitlines()[0]] == list(MEASURED)


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_the_settings_of_a_piece_make_a_config(piece):
    TrainConfig.parse({"data": "a", **piece.settings}, where="test")


def test_a_piece_trains_on_the_views_of_its_own_settings(monkeypatch):
    config = TrainConfig.parse({"data": "a", "epochs": 2}, where="test")
    bench = Bench.__new__(Bench)
    bench.config = config
    images = SimpleNamespace(targets=lambda smoothing: np.eye(4))
    bench.trainer = SimpleNamespace(images=lambda part, size: images, cache=None)
    asked = []
    monkeypatch.setattr(
        Features, "training_view", lambda self, recipe, images, view, views: asked.append((recipe, view)) or np.ones((4, 2))
    )
    quieter = config.model_copy(update={"noise_intensity": 0.25})
    bench._train(create_autospec(TrainingProgram, instance=True), quieter, Piece(), 0)
    assert asked == [(quieter.view_recipe, 0), (quieter.view_recipe, 1)]


def test_a_corrupted_part_is_made_the_same_each_time():
    asked = []
    part = HeldOut.__new__(HeldOut)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    part.images = SimpleNamespace(images=images, key="part", keys=[f"{number:032x}" for number in range(5)])
    part._cache = SimpleNamespace(get=lambda key, shape, dtype, make: asked.append(make))
    part.inputs(SimpleNamespace(takes_activations=False), ("gaussian", 3))
    first, again = (np.concatenate(list(asked[0]())) for _ in range(2))
    assert first.shape == images.shape
    assert not np.array_equal(first, images)
    np.testing.assert_array_equal(again, first)


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "results" / "recipe"
    config = TrainConfig.parse({"data": "/home/somebody/sartaj", "weights": "/home/somebody/weights.h5"}, where="test")
    asked = asked_of(config)
    assert read(path, asked) == []
    write(path, RUNS, asked)
    assert read(path, asked) == RUNS
    written = path.with_suffix(".json").read_text() + path.with_suffix(".txt").read_text()
    assert "weights.h5" in written
    assert "somebody" not in written


def test_rows_and_targets_are_mixed_alike():
    rows = np.eye(8, dtype=np.float16)[:, :, None]
    targets = np.eye(8, dtype=np.float32)
    mixed_rows, mixed_targets = mixed(rows, targets, 0.5, np.random.default_rng(0))
    np.testing.assert_allclose(mixed_rows[..., 0], mixed_targets, atol=1e-3)
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, rtol=1e-6)
    assert (mixed_targets.max(axis=1) < 0.99).any()


@pytest.mark.slow  # compiles the last block
def test_what_lies_before_the_head_is_slowed_down():
    from tumorcls.model.backend import select_backend

    select_backend()
    from tumorcls.model.program import TrainingProgram

    settings = {"data": "phantoms:8", "weights": "phantoms", "image_size": 32, "trainable_from": "block7", "optimizer": "sgd"}
    config = TrainConfig.parse(settings, where="test")
    moved = []
    for decay in (1.0, 0.25):
        program = TrainingProgram(config)
        slow_down(program, decay)
        program.reset(config, 0)
        names = [variable.path for variable in program._model.trainable_variables]
        before = dict(zip(names, (np.array(variable) for variable in program._model.trainable_variables), strict=True))
        rows = np.random.default_rng(0).normal(size=(8, *program.frozen.output.shape[1:])).astype(np.float16)
        program.train_epoch(rows, np.eye(4, dtype=np.float32)[np.arange(8) % 4], np.arange(8), 8)
        moved.append({v.path: np.array(v) - before[v.path] for v in program._model.trainable_variables})
    for name, step in moved[0].items():
        share = 1.0 if name.startswith("logits") else 0.25
        np.testing.assert_allclose(moved[1][name], share * step, atol=1e-6, err_msg=name)
