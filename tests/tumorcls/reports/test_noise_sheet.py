import io
import os

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tumorcls.commands.preview import command
from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import DataError
from tumorcls.noise.severity import SEVERITIES, corrupt
from tumorcls.reports.noise_sheet import draw_sheet, training_views
from tumorcls.reports.png import encode_png


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)


@pytest.fixture
def config():
    return TrainConfig(data=("unused",), image_size=40)


def holds(sheet, tile):
    """Whether the picture shows the tile, pixel for pixel."""
    match = cv2.matchTemplate(sheet, tile, cv2.TM_SQDIFF)
    y, x = np.unravel_index(match.argmin(), match.shape)
    return np.array_equal(sheet[y : y + len(tile), x : x + len(tile)], tile)


def test_shows_every_noise_at_every_severity_and_what_training_sees(image, config):
    sheet = np.asarray(draw_sheet([image], ["scan.jpg"], config, draws=7, seed=3))
    assert holds(sheet, image)
    for noise in SEVERITIES:
        for severity in range(1, 6):
            assert holds(sheet, corrupt(image[None], noise, severity, 3, ["scan.jpg"])[0])
    for view in training_views(image[None], config.view_recipe, 7, 3)[0]:
        assert holds(sheet, view)


def test_views_are_those_of_the_config(image, config):
    plain = {"noise_intensity": 0.0, "rotation_degrees": 0.0, "width_shift": 0.0, "height_shift": 0.0}
    still = config.model_copy(update={**plain, "horizontal_flip": False})
    np.testing.assert_array_equal(training_views(image[None], still.view_recipe, 2, 0), np.repeat(image[None, None], 2, axis=1))
    flipping = config.model_copy(update=plain)
    views = training_views(image[None], flipping.view_recipe, 30, 0)[0]
    assert {np.array_equal(view, image[:, ::-1]) for view in views} == {True, False}


def test_the_seed_fixes_the_sheet(image, config):
    once, again, other = (encode_png(draw_sheet([image], ["a"], config, draws=2, seed=seed)) for seed in (1, 1, 2))
    assert once == again != other


def test_the_command_writes_a_png_of_all_images(image, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / os.fsdecode(b"\xe9.jpg")]
    for path in paths:
        Image.fromarray(image).save(path)
    target = tmp_path / "new" / "sheet.png"
    arguments = [*map(str, paths), "-o", str(target), "--draws", "1", "--noise-intensity", "0.3"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    with Image.open(io.BytesIO(target.read_bytes())) as sheet:
        assert sheet.format == "PNG"
        assert f"{sheet.width} x {sheet.height}" in done.output


def test_a_file_that_is_no_image_is_one_line(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("no image")
    with pytest.raises(DataError, match=r"a\.png"):
        CliRunner().invoke(command, [str(path), "-o", str(tmp_path / "sheet.png")], catch_exceptions=False)
