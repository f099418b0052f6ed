"""Draws one answer: the image, and beside it what spoke for the likeliest class."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tumorcls import DISCLAIMER
from tumorcls.data.images import fit_square
from tumorcls.data.labels import percent, words
from tumorcls.inference.activation_map import overlay
from tumorcls.inference.predict import NO_SLICE, UNCERTAIN, Prediction
from tumorcls.reports.png import encode_png

_SIDE, _MARGIN, _TITLE, _FOOT = 300, 12, 30, 26
_INK, _SOFT, _PAPER = (28, 36, 48), (91, 102, 117), (255, 255, 255)


def draw_answer(prediction: Prediction) -> bytes:
    """Returns a PNG of a prediction that has its image and its activation map."""
    assert prediction.image is not None
    assert prediction.activation is not None
    large = fit_square(prediction.image, _SIDE)
    pair = np.concatenate([large, np.full((_SIDE, _MARGIN, 3), 255, np.uint8), overlay(large, prediction.activation)], axis=1)
    sheet = Image.new("RGB", (pair.shape[1] + 2 * _MARGIN, _SIDE + _TITLE + _FOOT + 2 * _MARGIN), _PAPER)
    sheet.paste(Image.fromarray(pair), (_MARGIN, _MARGIN + _TITLE))
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), _caption(prediction), fill=_INK, font=ImageFont.load_default(17))
    pen.text((_MARGIN, _SIDE + _TITLE + _MARGIN + 6), DISCLAIMER, fill=_SOFT, font=ImageFont.load_default(13))
    return encode_png(sheet)


def _caption(prediction: Prediction) -> str:
    name, share = max(prediction.probabilities.items(), key=lambda pair: pair[1])
    likeliest = f"{words(name)} {percent(share)}"
    return f"{prediction.answer}, likeliest {likeliest}" if prediction.answer in (UNCERTAIN, NO_SLICE) else likeliest
