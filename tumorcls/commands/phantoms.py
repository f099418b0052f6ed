"""`tumorcls phantoms`: generated images in the layout of a Kaggle set."""

from pathlib import Path

import click

from tumorcls.commands._options import FILE
from tumorcls.errors import shown


@click.command("phantoms")
@click.argument("folder", type=FILE)
@click.option("--images", type=click.IntRange(4, 100_000), default=400, show_default=True, help="How many in all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--size", type=click.IntRange(32, 1024), default=192, show_default=True, help="Width and height in pixels.")
@click.option(
    "--copies",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many of them get an altered copy beside them, for `tumorcls audit` to find.",
)
def command(folder: Path, images: int, seed: int, size: int, copies: int) -> None:
    """Write generated brain-like images of the four classes, to try things on."""
    from tumorcls.data.phantom import write_dataset

    write_dataset(folder, images, seed, size, copies)
    also = f" and {copies} copies of them" if copies else ""
    click.echo(f"Wrote {images} images{also} to {shown(folder)}/Training. They are drawings, not scans of people.")
