"""Draws one answer: the image, and beside it what spoke for the likeliest class."""

from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tumorcls import DISCLAIMER
from tumorcls.data.images import fit_square
from tumorcls.data.labels import percent, words
from tumorcls.inference.activation_map import overlay
from tumorcls.inference.predict import NO_SLICE, UNCERTAIN, Prediction
from tumorcls.reports import limits
from tumorcls.reports.png import encode_png

_SIDE, _MARGIN, _TITLE = 300, 12, 30
_LINE, _LETTERS = 17, 96  # of the foot: pixels, and how many fit beside one another
_INK, _SOFT, _PAPER = (28, 36, 48), (91, 102, 117), (255, 255, 255)


def draw_answer(prediction: Prediction) -> bytes:
    """Returns a PNG of a prediction that has its image and its activation map."""
    assert prediction.image is not None
    assert prediction.activation is not None
    grid = limits.map_grid(len(prediction.activation), len(prediction.image))
    slices = [limits.one_slice(prediction.slice_number, prediction.slices)] if prediction.slices > 1 else []
    told = (DISCLAIMER, grid, *slices, limits.other_diseases(tuple(prediction.probabilities)))
    foot = [line for sentence in told for line in wrap(sentence, _LETTERS)]
    large = fit_square(prediction.image, _SIDE)
    pair = np.concatenate([large, np.full((_SIDE, _MARGIN, 3), 255, np.uint8), overlay(large, prediction.activation)], axis=1)
    sheet = Image.new("RGB", (pair.shape[1] + 2 * _MARGIN, _SIDE + _TITLE + len(foot) * _LINE + 3 * _MARGIN), _PAPER)
    sheet.paste(Image.fromarray(pair), (_MARGIN, _MARGIN + _TITLE))
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), _caption(prediction), fill=_INK, font=ImageFont.load_default(17))
    for row, line in enumerate(foot):
        pen.text((_MARGIN, _SIDE + _TITLE + 2 * _MARGIN + row * _LINE), line, fill=_SOFT, font=ImageFont.load_default(13))
    return encode_png(sheet)


def _caption(prediction: Prediction) -> str:
    name, share = max(prediction.probabilities.items(), key=lambda pair: pair[1])
    likeliest = f"{words(name)} {percent(share)}"
    return f"{prediction.answer}, likeliest {likeliest}" if prediction.answer in (UNCERTAIN, NO_SLICE) else likeliest
