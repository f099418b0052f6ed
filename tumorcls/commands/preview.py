"""`tumorcls preview`: what noise and augmentation do to images, as a PNG sheet."""

from pathlib import Path

import click

from tumorcls.commands._options import FILE, Share
from tumorcls.commands.streams import prepare_outputs, tell
from tumorcls.errors import shown


@click.command("preview", short_help="Show every noise at every severity, and what training sees.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, help="PNG file to write.")
@click.option(
    "--config", "config_file", type=FILE, help="Exported config whose noise and augmentation to show; the defaults without it."
)
@click.option("--noise-intensity", type=Share(0, 1), help="Largest intensity in training, instead of the config's.")
@click.option("--draws", type=click.IntRange(1, 60), default=6, show_default=True, help="Training views of each image.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Fixes noise and views.")
def command(
    images: tuple[Path, ...], output: Path, config_file: Path | None, noise_intensity: float | None, draws: int, seed: int
) -> None:
    """Draw a sheet for a few images: each noise at its five severities, and augmented and noisy views as in training."""
    from tumorcls.config.file import read_config
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.data.images import read_image
    from tumorcls.files import write_whole
    from tumorcls.model.backend import select_backend

    prepare_outputs(output)
    config = TrainConfig(data=("preview",)) if config_file is None else read_config(config_file).config
    if noise_intensity is not None:
        config = config.model_copy(update={"noise_intensity": noise_intensity})
    pixels = [read_image(path) for path in images]
    select_backend()
    from tumorcls.reports.noise_sheet import draw_sheet
    from tumorcls.reports.png import encode_png

    sheet = draw_sheet(pixels, [shown(path.name) for path in images], config, draws=draws, seed=seed)
    write_whole(output, encode_png(sheet))
    tell(f"Wrote {output}. It has {sheet.width} x {sheet.height} pixels.")
