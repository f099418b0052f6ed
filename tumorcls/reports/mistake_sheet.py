"""The worst mistakes of a trial on one picture: what was seen, what was said, what it is."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from tumorcls import DISCLAIMER
from tumorcls.cache.arrays import Rows
from tumorcls.data.images import fit_square
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.files import encode_png

_SIDE, _GAP, _IN_A_ROW, _CAPTION, _HEADING = 120, 10, 6, 36, 46
_PAPER, _INK, _FAINT = 255, 30, 95
_TITLE = "Clean validation images that it was surest of and wrong about, one of each group of near-duplicates"


def draw_mistakes(mistakes: Sequence[Mistake], images: Rows, classes: Sequence[str]) -> bytes:
    """Returns a grey PNG of about ten kilobytes for each mistake.

    Args:
        mistakes: At least one; clean images of the set.
        images: uint8 (n, size, size, 3), RGB; the set.
        classes: Class names in the order of their indices.
    """
    rows = -(-len(mistakes) // _IN_A_ROW)
    size = (_GAP + _IN_A_ROW * (_SIDE + _GAP), _HEADING + rows * (_SIDE + _CAPTION + _GAP))
    sheet = Image.new("L", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    pen.text((_GAP, 7), _TITLE, fill=_INK, font=font)
    pen.text((_GAP, 23), DISCLAIMER, fill=_FAINT, font=font)
    for number, mistake in enumerate(mistakes):
        row, column = divmod(number, _IN_A_ROW)
        x, y = _GAP + column * (_SIDE + _GAP), _HEADING + row * (_SIDE + _CAPTION + _GAP)
        sheet.paste(Image.fromarray(fit_square(images[mistake.image], _SIDE)).convert("L"), (x, y))
        said, true = (classes[index].replace("_", " ") for index in (mistake.predicted, mistake.label))
        pen.text((x, y + _SIDE + 3), f"{said} {mistake.confidence:.0%}", fill=_INK, font=font)
        pen.text((x, y + _SIDE + 18), f"is {true}", fill=_FAINT, font=font)
    return encode_png(sheet)
