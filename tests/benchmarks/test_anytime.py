import pytest

from benchmarks import kept
from benchmarks.anytime import Cell, Run, asked_of, half_width, paired, read, table
from tumorcls.config.train_config import TrainConfig


def run(schedule, seed, score, epochs=16):
    cell = Cell("head", 1e-3, epochs, schedule, seed)
    return Run(cell, {"clean_f1": score, "noisy_f1": score, "robust_f1": score}, 1.0)


RUNS = [run("cosine", 0, 0.70), run("cosine", 1, 0.72), run("ema", 0, 0.71), run("ema", 1, 0.75), run("ema", 2, 0.9)]


def test_differences_are_paired_by_seed_and_those_without_a_pair_are_left_out():
    assert paired(RUNS, "head", 1e-3, 16, "ema") == pytest.approx([0.01, 0.03])
    assert paired(RUNS, "head", 1e-3, 8, "ema") == []
    assert half_width([0.01, 0.03]) == pytest.approx(12.706 * 0.01, rel=1e-3), "Student's t with one degree of freedom"


def test_the_table_has_a_line_for_each_length():
    lines = table([*RUNS, run("ema", 0, 0.6, epochs=2)]).splitlines()
    assert lines[0] == "| from | rate | epochs | seeds | cosine | ema | ema less cosine |"
    assert lines[2:] == [
        "| head | 0.001 | 16 | 3 | 0.7100 | 0.7867 | +0.0200 ± 0.1271 |",
        "| head | 0.001 | 2 | 1 | - | 0.6000 | - |",
    ]


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "results" / "anytime.json"
    config = TrainConfig.parse({"data": "phantoms:8"}, where="test")
    assert read(path, config) == []
    kept.write_runs(path, asked_of(config), RUNS)
    assert read(path, config) == RUNS
