"""`tumorcls predict`: a model's probabilities for image files."""

from pathlib import Path

import click

from tumorcls import DISCLAIMER


@click.command("predict")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-m", "--model", "model_file", type=click.Path(path_type=Path), default=Path("model.keras"), show_default=True)
def command(images: tuple[Path, ...], model_file: Path) -> None:
    """Print the probability of each class for each image. For research and education only, never for diagnosis.

    An image that cannot be read gets its error on its own line; the others are answered all the same, and the exit code is 1.
    """
    import numpy as np

    from tumorcls.backend import select_backend
    from tumorcls.errors import DataError
    from tumorcls.images import fit_square, read_image

    select_backend()
    from tumorcls.saved_model import load_model

    model = load_model(model_file)
    failed = False
    for path in images:
        try:
            image = fit_square(read_image(path), model.config.image_size)
        except DataError as error:
            click.echo(f"tumorcls: {error}", err=True)
            failed = True
            continue
        probabilities = model.predict(np.asarray(image)[None])[0]
        ranked = sorted(zip(model.classes, probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
        click.echo(f"{path}: " + "  ".join(f"{name} {probability:.3f}" for name, probability in ranked))
    click.echo(DISCLAIMER)
    if failed:
        raise SystemExit(1)
