"""Shows an evaluation as one HTML page that needs no network: charts, tables, and the worst mistakes as pictures."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tumorcls.cache.arrays import Rows
from tumorcls.data.labels import words
from tumorcls.evaluation.bootstrap import Estimate
from tumorcls.evaluation.external import score_rows
from tumorcls.evaluation.metrics import guessing_f1
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.evaluation.record import BOTH_PARTS, Condition, Evaluation, Scores
from tumorcls.evaluation.relative import RelativeError
from tumorcls.noise.severity import corrupt, meaning_of, parameter_of
from tumorcls.reports import evaluation_charts as charts
from tumorcls.reports.evaluation_charts import title_of
from tumorcls.reports.limits import noises
from tumorcls.reports.page import chart, jpeg, number, render

_THUMBNAIL_SIDE, _QUALITY = 160, 88  # pixels; of a JPEG


@charts.white()
def render_page(evaluation: Evaluation, images: Rows | None = None, reference: Evaluation | None = None) -> str:
    """Returns the page as HTML; a reference is a second model, drawn next to the first in the robustness curves.

    Mistakes are shown as pictures where the test images are given, uint8 (n, h, w, 3) in the order of the evaluation.
    """
    compared = charts.robustness_legend(evaluation, reference)
    recall, classes = charts.recall_curves(evaluation)
    reliability, conditions = charts.reliability_diagram(evaluation)
    panels = {
        "robustness": charts.robustness_curves(evaluation, evaluation.noises, reference),
        "unseen": charts.robustness_curves(evaluation, evaluation.unseen_kinds, reference),
        "worst": [charts.unseen_dots(evaluation)] if evaluation.unseen else [],
        "recall": recall,
        "confusion": charts.confusion_matrices(evaluation),
        "reliability": [("", reliability)],
        "coverage": [("", charts.coverage_curve(evaluation.selective))] if evaluation.selective else [],
    }
    drawn = {name: [(title, chart(figure)) for title, figure in figures] for name, figures in panels.items()}
    relative = evaluation.relative
    return render(
        "reports/evaluation.html",
        evaluation=evaluation,
        scripts=[
            Markup("<script>{}</script>").format(Markup(get_plotlyjs())),
            *(figure for figures in drawn.values() for _, figure in figures),
        ],
        charts=drawn,
        legends={"robustness": compared, "unseen": compared, "recall": classes, "reliability": conditions},
        cards=list(_cards(evaluation)),
        which_noises=noises(evaluation.noises) if evaluation.noises else "",
        guessing=number(guessing_f1(np.array(evaluation.labels), len(evaluation.classes))),
        by_class=list(_by_class(evaluation)),
        relative_errors=_relative(relative.errors if relative else ()),
        relative_unseen=_relative(relative.unseen if relative else ()),
        takes_over=evaluation.provenance.get("trained_on") == BOTH_PARTS,
        sets=[(title_of(row.noise or "clean"), row.coverage, row.size) for row in evaluation.set_rows],
        mistakes=[(mistake, _picture(mistake, images, evaluation.noise_seed)) for mistake in evaluation.mistakes],
        conditions=[("Clean", "", *_row(evaluation.clean)), *map(_condition, evaluation.noisy)],
        unseen_conditions=list(map(_condition, evaluation.unseen)),
        external=score_rows(evaluation) if evaluation.external else [],
        method=list(_method(evaluation)),
    )


def _cards(evaluation: Evaluation) -> Iterator[tuple[str, str, str]]:
    """Yields what a reader looks for first: what it is, its value, and its interval."""
    clean, under = evaluation.clean, evaluation.summary
    scores = [("macro-F1, clean", clean.macro_f1)]
    scores += [("macro-F1, mean under noise", under.noisy_f1)] if under else []
    if never := evaluation.unseen_summary:
        scores.append((f"macro-F1, the worst that it has never seen: {words(never.worst_noise)}", never.worst_f1))
    if clean.brier:
        scores.append(("Brier score, clean: the less, the better", clean.brier))
    else:  # an evaluation of before it was measured
        scores.append(("calibration error, clean", clean.calibration_error))
    for what, score in scores:
        yield what, number(score.value), _interval(score)
    for what, errors in evaluation.detection.rows if evaluation.detection else ():
        yield f"{what}, of {errors.images:,}", f"{errors.count:,}", _interval(errors.share)


def _interval(score: Estimate) -> str:
    return f"95%: {str(score).partition(' ')[2].strip('()')}" if score.value is not None else ""


def _by_class(evaluation: Evaluation) -> Iterator[tuple[object, ...]]:
    clean = evaluation.clean
    for i, name in enumerate(evaluation.classes):
        shares = (number(values[i]) for values in (clean.precision, clean.f1, clean.roc_auc))
        yield title_of(name), sum(clean.confusion[i]), clean.recall[i], *shares


def _picture(mistake: Mistake, images: Rows | None, seed: int) -> str:
    if images is None:
        return ""
    image = images[mistake.image : mistake.image + 1]
    seen = image if mistake.noise is None else corrupt(image, mistake.noise, mistake.severity, seed, [mistake.key])
    return jpeg(cv2.resize(seen[0], (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA), _QUALITY)


def _relative(errors: Sequence[RelativeError]) -> list[tuple[object, ...]]:
    return [(title_of(error.noise), error.be, error.rbe) for error in errors]


def _condition(condition: Condition) -> tuple[object, ...]:
    parameter = parameter_of(condition.noise, condition.severity)
    return f"{title_of(condition.noise)} {condition.severity}", parameter, *_row(condition.scores)


def _row(scores: Scores) -> tuple[object, ...]:
    areas = [area for area in scores.roc_auc if area is not None]
    mean_area = number(sum(areas) / len(areas) if areas else None)
    return scores.accuracy, scores.balanced_accuracy, scores.macro_f1, mean_area, scores.calibration_error


def _method(evaluation: Evaluation) -> Iterator[tuple[str, object]]:
    yield "Test images", evaluation.groups_note
    yield "Test set", evaluation.test_set_sha256
    yield "Intervals", f"percentiles of {evaluation.resamples} bootstrap resamples of groups, 95%"
    yield "Noise seed", evaluation.noise_seed
    for noise in (*evaluation.noises, *evaluation.unseen_kinds):
        yield title_of(noise), f"parameter: {meaning_of(noise)}"
    patients = {"patients": evaluation.patients_note} if evaluation.patients_note else {}
    yield from {**evaluation.provenance, **patients}.items()
