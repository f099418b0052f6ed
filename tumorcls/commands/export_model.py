"""`tumorcls export-model`: a model for programs without Keras."""

from pathlib import Path

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE
from tumorcls.commands.streams import prepare_outputs, tell

_COMPARED = 8


@click.command("export-model")
@click.argument("model_file", metavar="MODEL.keras", type=FILE)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", type=FILE)
@click.option(
    "-o", "--output", "outputs", type=FILE, multiple=True, required=True, help="FILE.onnx or FILE.tflite; repeatable."
)
def command(model_file: Path, images: tuple[Path, ...], outputs: tuple[Path, ...]) -> None:
    """Write a model as ONNX or TFLite, once the file has given the model's own answers.

    The answers are compared on IMAGEs (files or folders), or on generated images. Where they differ nothing is written. The
    file takes uint8 RGB images and gives calibrated probabilities; class names, threshold and disclaimer are inside. Needs the
    extra [export].
    """
    from tumorcls.data.labels import CLASSES
    from tumorcls.data.phantom import render
    from tumorcls.inference.pictures import find_images
    from tumorcls.model.backend import select_backend

    select_backend()
    import numpy as np

    from tumorcls.data.images import fit_square, read_image
    from tumorcls.inference.onnx_tflite import export
    from tumorcls.model.saved_model import load_model

    prepare_outputs(*outputs)
    model = load_model(model_file)
    size = model.config.image_size
    if images:
        compared = np.stack([fit_square(read_image(path), size) for path in find_images(images)])
    else:
        drawn = [render(CLASSES[index % len(CLASSES)], np.random.default_rng([0, index]), size) for index in range(_COMPARED)]
        compared = np.repeat(np.stack(drawn)[..., None], 3, axis=-1)
    for output in outputs:
        difference = export(model, output, compared)
        tell(f"Wrote {output}. Over {len(compared)} images its probabilities differ by at most {difference:.1e}.")
    click.echo(DISCLAIMER)
