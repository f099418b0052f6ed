"""`tumorcls card`: a model's papers."""

from pathlib import Path

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE
from tumorcls.commands.streams import prepare_outputs, tell


@click.command("card")
@click.argument("model_file", metavar="MODEL.keras", type=FILE)
@click.argument("evaluation_file", metavar="EVALUATION.json", type=FILE)
@click.option(
    "--external",
    "external_files",
    type=FILE,
    multiple=True,
    metavar="EVALUATION.json",
    help="Of the model on other data (`evaluate --data`), or from `leave-one-source-out`; repeatable.",
)
@click.option("-o", "--output", type=FILE, default=Path("card.md"), show_default=True, help="Markdown file to write.")
@click.option("--html", type=FILE, help="Write it as a page too, which opens offline.")
def command(model_file: Path, evaluation_file: Path, external_files: tuple[Path, ...], output: Path, html: Path | None) -> None:
    """Write a model card from a model and the JSON that `tumorcls evaluate MODEL.keras -o` wrote of it.

    It names data and split by their hashes, the search, every setting, clean and noisy results with intervals for each class,
    calibration, what the model is for, and what it is not for.
    """
    from tumorcls.evaluation.record import Evaluation
    from tumorcls.files import write_whole
    from tumorcls.model.backend import select_backend

    select_backend()
    from tumorcls.model.saved_model import load_model
    from tumorcls.reports.model_card import render_page, write_card

    prepare_outputs(output, html)
    model = load_model(model_file)
    externals = [Evaluation.read(file) for file in external_files]
    card = write_card(model, Evaluation.read(evaluation_file), model_file.stem, externals)
    write_whole(output, card)
    tell(f"Wrote {output}.")
    if html:
        write_whole(html, render_page(card, model_file.stem))
        tell(f"Wrote {html}.")
    tell(DISCLAIMER)
