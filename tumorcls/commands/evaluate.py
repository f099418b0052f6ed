"""`tumorcls evaluate`: a model on the test part, clean and under noise."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE
from tumorcls.commands._plan import UNSEEN, plan_of
from tumorcls.commands.streams import prepare_outputs, tell
from tumorcls.data.labels import exact_percent
from tumorcls.errors import shown

if TYPE_CHECKING:
    from tumorcls.evaluation.record import Evaluation


@click.command("evaluate")
@click.argument("model_file", metavar="MODEL.keras", type=FILE, default=Path("model.keras"))
@click.option("-o", "--output", type=FILE, help="Write the evaluation as JSON.")
@click.option("--html", type=FILE, help="Write it as one page with plots that opens offline.")
@click.option("--reference", type=FILE, help="JSON of another model's evaluation; errors are given relative to it.")
@click.option(
    "--data",
    "folders",
    multiple=True,
    metavar="DATA",
    help="Where the model's data lies, if it was moved, or other data: folders or tables; repeatable.",
)
@click.option(
    "--trained-on", multiple=True, metavar="DATA", help="Where the model's data lies, if --data is other data; repeatable."
)
@click.option("--clean-only", is_flag=True, help="Leave noise and corruptions out.")
@UNSEEN
def command(
    model_file: Path,
    output: Path | None,
    html: Path | None,
    reference: Path | None,
    folders: tuple[str, ...],
    trained_on: tuple[str, ...],
    clean_only: bool,
    unseen: str,
) -> None:
    """Measure a model on the test part of its data, or on other data. For research and education only.

    Intervals are 95% bootstrap intervals over groups of near-duplicates, not over images. The split must be the one of the
    training: if files were added or changed since, the command says so and stops. Where they lie and how they are called does
    not matter; name each folder of data that was moved with --data.

    Other data than the model's own in --data is measured whole, but for the images whose picture or patient the model may
    have seen: they are counted and left out, and the scores with them stand beside.

    The noises are those that chose the model. Apart from them stand corruptions that neither its training nor its
    search has seen: blur, motion, contrast, brightness, gamma, resolution, compression, ghosts and uneven fields.
    """
    from tumorcls.cache.folder import cache_folder
    from tumorcls.model.backend import device_notes, select_backend

    select_backend()
    from tumorcls.commands._measured_images import measured_images, with_all
    from tumorcls.evaluation.evaluate import evaluate_model, images_sha256
    from tumorcls.evaluation.record import Evaluation
    from tumorcls.evaluation.robustness import check_reference, compare
    from tumorcls.model.program import predict
    from tumorcls.model.saved_model import load_model
    from tumorcls.reports.evaluation_page import render_page
    from tumorcls.reports.links import write_page
    from tumorcls.training.fit_gate import looking_at

    prepare_outputs(output, html)
    model = load_model(model_file)
    against = Evaluation.read(reference) if reference else None
    measured = measured_images(model, folders, trained_on, cache_folder())
    for note in (*measured.manifest.notes(), *device_notes()):
        click.echo(f"note: {note}", err=True)
    test = measured.images
    plan = plan_of(model.config, model.calibration, unseen, clean_only=clean_only)
    if against is not None:
        check_reference(against, images_sha256(test), plan.seed, [*plan.conditions, *plan.unseen_conditions])
    other = measured.external  # what is wrong with it is told before hours
    everything = None if other is None else other.images(other.usable, model.config.image_size, cache_folder())
    if model.gate is not None:
        plan = replace(plan, passed=tuple(model.gate.passes(predict(test.images, looking_at(model.network))).tolist()))
    evaluation = evaluate_model(
        model.predict,
        test,
        plan,
        name=model_file.stem,
        provenance={
            "model_sha256": model.sha256,
            **measured.provenance(),
            "trained_on": model.provenance.get("trained_on", "not on record"),
            "evaluated": date.today().isoformat(),
        },
        on_condition=lambda noise, severity: click.echo(f"  {noise} {severity}/5", err=True),
    )
    if other is not None and everything is not None:
        evaluation = with_all(evaluation, other, model.predict, everything)
    if against is not None and (evaluation.noisy or evaluation.unseen):
        evaluation = compare(evaluation, against)
    elif against is not None:
        click.echo("note: nothing is compared with the reference: errors under noise would be, and none was measured", err=True)
    _print(evaluation)
    if output:
        evaluation.write(output)
        tell(f"Wrote {output}.")
    if html:
        write_page(html, render_page(evaluation, test.images, against))
        tell(f"Wrote {html}.")
    tell(DISCLAIMER)


def _print(evaluation: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from tumorcls.reports.page import number

    console = Console()
    clean = evaluation.clean
    where = "the test part" if evaluation.external is None else evaluation.provenance.get("sources", "other data")
    title = Text(f"{shown(evaluation.name)} on {where}, clean", style="italic")
    by_class = Table("class", "precision", "recall", "F1", "images", title=title)
    confusion = Table("true \\ predicted", title="Confusion matrix")
    for name in evaluation.classes:
        confusion.add_column(Text(name))
    for index, name in enumerate(evaluation.classes):
        row = clean.confusion[index]
        precision, f1 = number(clean.precision[index]), number(clean.f1[index])
        by_class.add_row(Text(name), precision, str(clean.recall[index]), f1, str(sum(row)))
        confusion.add_row(Text(name), *map(str, row))
    console.print(by_class)
    console.print(f"accuracy {clean.accuracy}   macro-F1 {clean.macro_f1}   calibration error {clean.calibration_error}")
    console.print(confusion)
    if evaluation.external is not None:
        console.print(evaluation.external.sentence(), soft_wrap=True)
        all_of_it = evaluation.external.with_seen
        console.print(f"with them: accuracy {all_of_it.accuracy}   macro-F1 {all_of_it.macro_f1}", soft_wrap=True)
    if evaluation.sets is not None:
        clean_sets = evaluation.sets.rows[0]
        asked = f"{exact_percent(evaluation.sets.asked)} asked for"
        console.print(f"sets of classes hold the true one: {clean_sets.coverage}, {asked}; classes in a set {clean_sets.size}")
    for measured, noises in (
        ("Macro-F1 under noise", evaluation.noises),
        ("Macro-F1 under what it has never seen", evaluation.unseen_kinds),
    ):
        if noises:
            severities = [f"severity {condition.severity}" for condition in evaluation.under(noises[0])]
            noisy = Table(Column("noise", no_wrap=True), *severities, title=measured)
            for noise in noises:
                noisy.add_row(noise, *(str(condition.scores.macro_f1) for condition in evaluation.under(noise)))
            console.print(noisy)
