"""A whole `tumorcls predict` on images that are far too large, or as large as is accepted."""

import subprocess

import numpy as np
import pytest

from tests import own_memory
from tests.tumorcls.data.test_matlab import write_mat
from tests.tumorcls.pictures import png_header, write
from tumorcls.data.labels import CLASSES
from tumorcls.model.backbone import build_network
from tumorcls.model.calibration import Calibration
from tumorcls.model.saved_model import SavedModel

MOST = 600 * 2**20
"""A third of it is what TensorFlow has before the first image."""


@pytest.mark.slow
def test_a_process_stays_below_600_mebibytes_and_its_libraries(tmp_path, make_config):
    network = build_network(150, 4, imagenet=False)  # whatever it answers: to draw weights takes longer than a prediction
    config = make_config(image_size=150)
    SavedModel(CLASSES, config, {}, Calibration(1.0, 0.0, 0.05, 1.0, 0.0, 1), network=network).save(tmp_path / "model.keras")
    huge = np.zeros((20_000, 20_000), np.uint8)
    refused = [write(tmp_path / "huge.jpg", huge), write(tmp_path / "huge.png", huge), png_header(tmp_path, 11_000)]
    largest = np.random.default_rng(0).integers(0, 2**16, (4096, 4096)).astype(np.uint16)
    colours = np.random.default_rng(1).integers(0, 2**16, (2048, 2048, 4)).astype(np.uint16)
    answered = [
        write(tmp_path / "deep.png", largest),
        write(tmp_path / "grey.jpg", (largest >> 8).astype(np.uint8)),
        write(tmp_path / "colours.png", np.dstack([(largest >> 8).astype(np.uint8)] * 4)),
        write_mat(tmp_path / "largest.mat", largest.astype(np.int16), 1, "P"),
    ]
    refused.append(write(tmp_path / "too-deep.png", np.zeros((4096, 4096, 3), np.uint16)))
    command = ["predict", *map(str, [*refused, *answered])]
    done = subprocess.run([*own_memory.COMMAND, *command], cwd=tmp_path, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if "error: " in line or "Warning" in line]
    assert len(lines) == len(refused), done.stderr
    assert all("at most 16,777,216 pixels" in line for line in lines[:-1])
    assert "at most 4,194,304 pixels" in lines[-1]
    assert len([line for line in done.stdout.splitlines() if str(tmp_path) in line]) == len(answered)
    code, kilobytes = map(int, done.stderr.split()[-2:])
    assert code == 1
    assert kilobytes * 1024 < MOST
    deepest = [
        write(tmp_path / "deep-colours.png", colours),
        write_mat(tmp_path / "doubles.mat", colours[:, :, 0].astype(np.float64), 1, "P"),
    ]
    command = ["predict", *map(str, deepest)]
    done = subprocess.run([*own_memory.COMMAND, *command], cwd=tmp_path, capture_output=True, text=True)
    code, kilobytes = map(int, done.stderr.split()[-2:])
    assert code == 0, done.stderr
    assert kilobytes * 1024 < MOST
