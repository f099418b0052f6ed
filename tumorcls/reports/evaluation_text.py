"""An evaluation as tables in the terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tumorcls.data.labels import exact_percent, words
from tumorcls.errors import shown
from tumorcls.evaluation.record import Evaluation
from tumorcls.reports.page import number


def print_evaluation(evaluation: Evaluation) -> None:
    """Prints how each class did on clean images, what was taken for what, macro-F1 under each noise, and all of it in short."""
    console = Console()
    external, sets = evaluation.external, evaluation.sets
    console.print(_by_class(evaluation))
    console.print(_confusion(evaluation))
    if external is not None:
        console.print(external.sentence(), soft_wrap=True)
        all_of_it = external.with_seen
        console.print(f"with them: accuracy {all_of_it.accuracy}   macro-F1 {all_of_it.macro_f1}", soft_wrap=True)
    if sets is not None:
        on_clean, asked = sets.rows[0], f"{exact_percent(sets.asked)} asked for"
        console.print(f"sets of classes hold the true one: {on_clean.coverage}, {asked}; classes in a set {on_clean.size}")
    if evaluation.noises:
        console.print(_under(evaluation, evaluation.noises, "Macro-F1 under noise"))
    if evaluation.unseen_kinds:
        console.print(_under(evaluation, evaluation.unseen_kinds, "Macro-F1 under what it has never seen"))
    for line in _in_short(evaluation):
        console.print(line, soft_wrap=True, markup=False)


def _in_short(evaluation: Evaluation) -> Iterator[str]:
    """Yields what a reader looks for, which stands below the tables, where a terminal does not scroll it away."""
    clean = evaluation.clean
    if evaluation.detection is not None:
        yield from (f"{what.lower()}, {errors}" for what, errors in evaluation.detection.rows)
        yield evaluation.detection.note
    yield f"accuracy {clean.accuracy}   macro-F1 {clean.macro_f1}"
    brier = f"Brier score {clean.brier}   " if clean.brier else ""
    yield f"{brier}calibration error {clean.calibration_error}"
    for where, summary in (("noise", evaluation.summary), ("what it has never seen", evaluation.unseen_summary)):
        if summary is not None:
            worst = f"the worst, {words(summary.worst_noise)}: {summary.worst_f1}"
            yield f"macro-F1 under {where} {summary.noisy_f1}   {worst}"
    if evaluation.relative is not None and evaluation.relative.differences is not None:
        yield f"gain over {shown(evaluation.relative.reference)}, paired; an interval that holds 0 does not tell them apart:"
        for name, difference in evaluation.relative.differences.rows:
            yield f"  {name} {difference}"


def _by_class(evaluation: Evaluation) -> Table:
    where = "the test part" if evaluation.external is None else evaluation.provenance.get("sources", "other data")
    title = Text(f"{shown(evaluation.name)} on {where}, clean", style="italic")
    table, clean = Table("class", "precision", "recall", "F1", "images", title=title), evaluation.clean
    for index, name in enumerate(evaluation.classes):
        precision, f1 = number(clean.precision[index]), number(clean.f1[index])
        table.add_row(Text(name), precision, str(clean.recall[index]), f1, str(sum(clean.confusion[index])))
    return table


def _confusion(evaluation: Evaluation) -> Table:
    table = Table("true \\ predicted", *(Column(Text(name)) for name in evaluation.classes), title="Confusion matrix")
    for name, row in zip(evaluation.classes, evaluation.clean.confusion, strict=True):
        table.add_row(Text(name), *map(str, row))
    return table


def _under(evaluation: Evaluation, noises: Sequence[str], title: str) -> Table:
    severities = [f"severity {condition.severity}" for condition in evaluation.under(noises[0])]
    table = Table(Column("noise", no_wrap=True), *severities, title=title)
    for noise in noises:
        table.add_row(noise, *(str(condition.scores.macro_f1) for condition in evaluation.under(noise)))
    return table
