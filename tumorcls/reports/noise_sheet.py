"""Draws what noise and augmentation do to images, as one picture for people to look at."""

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tumorcls.config.train_config import TrainConfig, ViewRecipe
from tumorcls.data.images import fit_square
from tumorcls.data.labels import exact_percent, words
from tumorcls.noise.severity import SEVERITIES, SEVERITY_LEVELS, corrupt, meaning_of

Pixels = NDArray[np.uint8]
Tile = tuple[Pixels, str]
"""A square image and the line under it."""

_COLUMNS = 1 + len(SEVERITY_LEVELS)
_GAP, _LABEL_WIDTH, _LINE = 6, 150, 20
_LETTERS = 23  # in a line of a note
_PAPER, _INK, _FAINT = (255, 255, 255), (27, 31, 36), (95, 104, 115)

Row = tuple[str, str, list[Tile]]
"""A title, a note below it, and beside them tiles in a line."""


def draw_sheet(
    images: Sequence[Pixels], names: Sequence[str], config: TrainConfig, *, draws: int = 6, seed: int = 0
) -> Image.Image:
    """Draws, for each image, uint8 (h, w, 3) RGB of any size, every noise at every severity and what training sees.

    They are shown at `config.image_size`, as the network sees them, each under its name and with `draws` training views. The
    config says how training augments and adds noise; the seed fixes both.
    """
    squares = np.stack([fit_square(image, config.image_size) for image in images])
    views = training_views(squares, config.view_recipe, draws, seed)
    blocks = [
        (name, [*_noise_rows(square, name, seed), *_training_rows(seen, config.view_recipe)])
        for square, name, seen in zip(squares, names, views, strict=True)
    ]
    return _paint(blocks, config.image_size)


def training_views(squares: Pixels, recipe: ViewRecipe, draws: int, seed: int) -> Pixels:
    """Returns what training would see of each image: uint8 (n, draws, size, size, 3).

    They come from the layers of the training program itself.
    """
    from keras import ops

    from tumorcls.model.layers import assign_recipe, view_layers

    augment, noise = view_layers(recipe, *(int(child) for child in np.random.SeedSequence(seed).generate_state(2) >> 1))
    assign_recipe(recipe, augment, noise)
    repeated = np.repeat(squares, draws, axis=0).astype(np.float32)
    seen = ops.convert_to_numpy(noise(augment(repeated, training=True), training=True))
    views: Pixels = np.rint(seen).astype(np.uint8).reshape(len(squares), draws, *squares.shape[1:])
    return views


def _noise_rows(square: Pixels, name: str, seed: int) -> list[Row]:
    rows = []
    for noise, parameters in SEVERITIES.items():
        tiles = [(square, "clean")]
        for severity, parameter in zip(SEVERITY_LEVELS, parameters, strict=True):
            noisy = corrupt(square[None], noise, severity, seed, [name])[0]
            tiles.append((noisy, f"severity {severity}: {parameter:g}"))
        rows.append((words(noise), textwrap.fill(meaning_of(noise), _LETTERS), tiles))
    return rows


def _training_rows(views: Pixels, recipe: ViewRecipe) -> list[Row]:
    tiles = [(view, f"draw {i + 1}") for i, view in enumerate(views)]
    note = (
        f"intensity up to {recipe.noise_intensity:g},\n{exact_percent(recipe.clean_share)} clean,\n"
        f"rotation ±{recipe.rotation_degrees:g}°,\nshift ±{recipe.width_shift:g} / ±{recipe.height_shift:g}"
        + (",\nflip" if recipe.horizontal_flip else "")
    )
    lines = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    return [("in training", note, lines[0]), *(("", "", line) for line in lines[1:])]


def _paint(blocks: Sequence[tuple[str, Sequence[Row]]], side: int) -> Image.Image:
    row_height, heading = side + _LINE + _GAP, 2 * _LINE
    height = _GAP + sum(heading + row_height * len(rows) for _, rows in blocks)
    sheet = Image.new("RGB", (_LABEL_WIDTH + _COLUMNS * (side + _GAP) + _GAP, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    large, normal, small = (ImageFont.load_default(size) for size in (18, 15, 12))
    y = _GAP
    for name, rows in blocks:
        pen.text((_GAP, y + 8), name, _INK, large)
        y += heading
        for title, note, tiles in rows:
            pen.text((_GAP, y), title, _INK, normal)
            pen.multiline_text((_GAP, y + _LINE), note, _FAINT, small, spacing=3)
            for column, (pixels, caption) in enumerate(tiles):
                x = _LABEL_WIDTH + column * (side + _GAP)
                sheet.paste(Image.fromarray(pixels), (x, y))
                pen.text((x, y + side + 2), caption, _FAINT, small)
            y += row_height
    return sheet
