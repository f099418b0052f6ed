"""`tumorcls predict`: a model's answers for image files."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE, Share, slices_option
from tumorcls.commands.streams import prepare_outputs, tell

if TYPE_CHECKING:
    from tumorcls.data.slices import Which
    from tumorcls.inference.predict import Prediction

_PICTURE = "{:04d}-{}.png"
_FORMATS = ("text", "csv", "json")
_LONGEST_STEM = 200  # bytes; a file's name has 255 at most


@click.command("predict")
@click.argument("images", nargs=-1, required=True, type=FILE)
@click.option("-m", "--model", "model_file", type=FILE, default=Path("model.keras"), show_default=True)
@click.option("--format", "form", type=click.Choice(_FORMATS), help="As the name of --output ends, and else text.")
@click.option("-o", "--output", type=FILE, help="File to write instead of printing.")
@click.option("--overlay", type=FILE, help="Folder for class activation maps: the regions that support each answer.")
@slices_option("Of a volume: one answer, or one for each slice that shows something.")
@click.option("--threshold", type=Share(0, 1), help='Confidence below which the answer is "uncertain".')
@click.option("--no-gate", is_flag=True, help='Never answer "no brain MRI slice".')
def command(
    images: tuple[Path, ...],
    model_file: Path,
    form: str | None,
    output: Path | None,
    overlay: Path | None,
    slices: "Which",
    threshold: float | None,
    no_gate: bool,
) -> None:
    """Answer for image files and folders. For research and education only, never for diagnosis.

    Prints the class, or "uncertain" where the model is less sure than the threshold that its validation images chose, and the
    calibrated probability of each class, and the classes that cannot be ruled out; or "no brain MRI slice" for a picture unlike
    all that the model was trained on. An image that cannot be read gets its error on its own line; the others are answered all
    the same, and the exit code is 1. Of a volume (NIfTI, DICOM of many frames, the DICOM files of a series in a folder) the
    slice in its middle is looked at, unless all are asked for; then a last line counts their answers. Below them stands what
    they leave open: other diseases, other slices, what a list of classes promises.
    """
    from tumorcls.files import write_whole
    from tumorcls.model.backend import select_backend

    prepare_outputs(output, overlay and overlay / _PICTURE.format(0, ""))
    select_backend()
    from tumorcls.inference.predict import answer_files, as_csv, as_json, as_text, promise_of
    from tumorcls.model.saved_model import load_model

    model = load_model(model_file)
    predictions = answer_files(model, *images, slices=slices, threshold=threshold, gate=not no_gate)
    undrawn: list[str] = []
    answers = list(_drawn(predictions, overlay, undrawn))
    ending = output.suffix.removeprefix(".").lower() if output else ""
    form = form or (ending if ending in _FORMATS else "text")
    text = {"text": as_text, "csv": as_csv, "json": as_json}[form](answers, model.classes, promise_of(model))
    errors = [answer.error for answer in answers if answer.error is not None] + undrawn
    for error in errors:
        click.echo(f"error: {error}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text)
        tell(f"Wrote {output}. {DISCLAIMER}")
    if errors:
        raise SystemExit(1)


def _drawn(predictions: Iterable["Prediction"], folder: Path | None, undrawn: list[str]) -> Iterator["Prediction"]:
    """Draws each answer where a folder is given; passes it on without its pictures, of which there may be thousands.

    What cannot be written is added to `undrawn`, and costs no answer.
    """
    from tumorcls.errors import DataError
    from tumorcls.files import write_whole
    from tumorcls.inference.figure import draw_answer

    for number, prediction in enumerate(predictions):
        if folder is not None and prediction.image is not None and prediction.activation is not None:
            stem = os.fsdecode(os.fsencode(prediction.path.stem)[:_LONGEST_STEM])
            try:
                write_whole(folder / _PICTURE.format(number, stem), draw_answer(prediction))
            except DataError as error:
                undrawn.append(str(error))
        yield replace(prediction, image=None, activation=None)
