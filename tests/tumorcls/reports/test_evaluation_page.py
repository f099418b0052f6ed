import functools
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.browser import problems
from tests.tumorcls.pictures import image_set
from tumorcls import DISCLAIMER
from tumorcls.errors import DataError
from tumorcls.evaluation.bootstrap import Estimate
from tumorcls.evaluation.evaluate import Plan, Predictions, measure
from tumorcls.evaluation.external import External, WithSeen
from tumorcls.evaluation.record import Evaluation
from tumorcls.evaluation.robustness import compare
from tumorcls.model.conformal import ClassSets
from tumorcls.noise.severity import SEVERITIES
from tumorcls.noise.unseen import UNSEEN as UNSEEN_KINDS
from tumorcls.reports.evaluation_charts import unseen_dots
from tumorcls.reports.evaluation_page import render_page
from tumorcls.reports.evaluation_text import print_evaluation
from tumorcls.reports.limits import noises

LABELS = np.arange(40) % 4
NOISES = ("gaussian", "salt_pepper", "rician")


UNSEEN = ("motion_blur", "jpeg_compression")


def evaluate(name, seed, noises=NOISES, labels=LABELS, unseen=UNSEEN):
    return _evaluate(name, seed, noises, tuple(labels), unseen)


@functools.cache
def _evaluate(name, seed, noises, labels, unseen):
    labels = np.array(labels)
    generator = np.random.default_rng(seed)

    def predictions():
        logits = generator.normal(size=(len(labels), 4)) + 2 * np.eye(4)[labels]
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    noisy = {(noise, severity): predictions() for noise in noises for severity in range(1, 6)}
    never_seen = {(kind, severity): predictions() for kind in unseen for severity in (1, 3)}
    test = replace(image_set(labels), names=tuple(f"sartaj/Testing/{at}.jpg" for at in range(len(labels))))
    return measure(
        Predictions(predictions(), noisy, never_seen),
        test,
        Plan(resamples=50, threshold=0.7, sets=ClassSets(0.9, 0.2), passed=(True,) * len(labels)),
        name=name,
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)


def without_plotly(page):
    """The page without the library, whose source would match anything."""
    return re.sub(r"<script>/\*.*?</script>", "", page, count=1, flags=re.DOTALL)


class Outside(HTMLParser):
    """Collects every address that a browser would fetch by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [v for k, v in attributes if k in {"src", "href"} and not v.startswith("data:")]


def test_one_page_that_needs_no_network_and_says_what_it_is_not_for(images):
    reference = evaluate("the seed's recipe", 1)
    page = render_page(compare(evaluate("tuned", 0), reference), images, reference)
    outside = Outside()
    outside.feed(without_plotly(page))
    assert outside.found == []
    assert page.count("plotly.js v") == 1
    assert DISCLAIMER in page
    for heading in (
        *("In short", "Robustness", "Recall of each class under noise", "Confusion matrices", "Reliability", "Worst mistakes"),
        *(
            "Robustness to what it has never seen",
            "Never seen",
            "Gain over the reference",
            "Robustness relative to the reference",
        ),
        *("Every condition", "How it was measured"),
    ):
        assert f">{heading}</h" in page
    panels = 2 * len(NOISES) + 1 + len(NOISES) + 3 + len(UNSEEN)  # curves, recalls, matrices, the rest, unseen
    assert without_plotly(page).count('class="plotly-graph-div"') == panels
    assert "the seed's recipe" in unescape(without_plotly(page))
    assert noises(NOISES) in page


def test_which_of_a_scanners_noises_were_not_drawn_is_said():
    assert noises(("rician",)).startswith("The noise is rician, drawn on")
    assert noises(("rician", "ghosting")).endswith(
        " Of what MR scanners mostly do, these are lacking: bias field, motion blur."
    )


def test_every_chart_says_its_main_figures_to_who_does_not_see_it(images):
    evaluation = evaluate("tuned", 0)
    page = without_plotly(render_page(evaluation, images))
    said = [unescape(label) for label in re.findall(r'<div role="img" aria-label="(.*?)">', page)]
    assert len(said) == page.count('class="plotly-graph-div"')
    values = [evaluation.clean.macro_f1, *(one.scores.macro_f1 for one in evaluation.under("gaussian"))]
    assert f"macro-F1: tuned, by severity from clean: {', '.join(f'{one.value:.3f}' for one in values)}." in said
    right = [f"of 10 {name}, {evaluation.clean.confusion[at][at]} right" for at, name in enumerate(evaluation.classes)]
    assert f"Clean: {'; '.join(right).replace('no_tumor', 'no tumor')}." in said


def test_cards_come_first_with_the_worst_that_it_has_never_seen_and_the_misses(images):
    told = evaluate("tuned", 0)
    page = without_plotly(render_page(told, images))
    cards = re.findall(r'<div class="card"><b>(.*?)</b><span>(.*?)</span>', page)
    worst, wrong = told.unseen_summary, told.detection
    assert wrong.missed.count == sum(told.clean.confusion[at][2] for at in (0, 1, 3))
    assert page.index('class="card"') < page.index("<table")
    assert [figure for figure, _ in cards] == [
        *(f"{x.value:.3f}" for x in (told.clean.macro_f1, told.summary.noisy_f1, worst.worst_f1)),
        *(f"{told.clean.brier.value:.3f}", str(wrong.missed.count), str(wrong.false_alarms.count)),
    ]
    assert cards[2][1].startswith(f"macro-F1, the worst that it has never seen: {worst.worst_noise.replace('_', ' ')}<br>95%: ")
    assert cards[4][1].startswith("Missed: tumours called no tumor, of 30<br>95%: ")
    assert cards[5][1].startswith("False alarms: no tumor called a tumour, of 10<br>95%: ")
    assert len(re.findall('class="card"', render_page(evaluate("tuned", 0, (), unseen=())))) == 4
    older = without_plotly(render_page(replace(told, clean=replace(told.clean, brier=None)), images))
    assert f'<div class="card"><b>{told.clean.calibration_error.value:.3f}</b><span>calibration error, clean<br>' in older


def test_what_it_has_never_seen_is_drawn_with_intervals_the_worst_first(images):
    told = evaluate("tuned", 0)
    title, drawn = unseen_dots(told)
    assert title == "At severity 3 of 5, the worst first; dotted: clean"
    at_hardest = [told.under(kind)[-1].scores.macro_f1 for kind in UNSEEN]
    found = sorted(at_hardest, key=lambda x: x.value)
    assert list(drawn.data[0].x) == [x.value for x in found]
    assert list(drawn.data[0].text) == [str(x) for x in found]
    ends = zip(drawn.data[0].x, drawn.data[0].error_x.arrayminus, drawn.data[0].error_x.array, strict=True)
    assert [(x - low, x + high) for x, low, high in ends] == [pytest.approx((x.low, x.high)) for x in found]
    wrong = replace(told.unseen[-1], scores=replace(told.clean, macro_f1=Estimate(0.0, 0.0, 0.0)))
    _, drawn = unseen_dots(replace(told, unseen=(*told.unseen[:-1], wrong)))
    assert [drawn.data[0][axis][0] for axis in ("x", "error_x.array", "error_x.arrayminus")] == [0, 0, 0]


def test_no_class_is_a_colour_alone(images):
    page = without_plotly(render_page(evaluate("tuned", 0), images))
    assert re.findall(r"</i>(\S) ", page)[:4] == ["●", "■", "◆", "✚"]
    assert '"symbol":"diamond"' in page


def test_mistakes_are_shown_with_their_pictures(images):
    evaluation = evaluate("tuned", 0)
    page = without_plotly(render_page(evaluation, images))
    assert page.count("data:image/jpeg;base64,") == len(evaluation.mistakes) > 0
    assert "data:image" not in without_plotly(render_page(evaluation))


def test_mistakes_are_called_by_their_files(images):
    evaluation = evaluate("tuned", 0)
    page = without_plotly(render_page(evaluation, images))
    assert all(f"<code>sartaj/Testing/{mistake.image}.jpg</code>" in page for mistake in evaluation.mistakes)
    unnamed = replace(evaluation, mistakes=tuple(replace(mistake, file="") for mistake in evaluation.mistakes))
    assert f"<code>{evaluation.mistakes[0].key[:12]}</code>" in render_page(unnamed)


def test_coverage_and_error_are_on_the_page(images):
    evaluation = evaluate("tuned", 0)
    page = without_plotly(render_page(evaluation, images))
    assert ">Coverage and error</h2>" in page
    assert f"a share of\n{evaluation.selective.coverage} gets an answer there" in page
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    assert "Coverage and error" not in without_plotly(render_page(replace(evaluation, selective=None)))


def test_the_brier_score_leads_to_the_calibration_error_where_it_was_measured(images, capsys):
    found = evaluate("model", 0)
    older = replace(found, clean=replace(found.clean, brier=None))
    for render in (
        lambda one: without_plotly(render_page(one, images)),
        lambda one: print_evaluation(one) or capsys.readouterr().out,
    ):
        text = " ".join(render(found).split())
        assert str(found.clean.brier) in text
        assert text.index("Brier score") < text.lower().index("calibration error")
        assert str(found.clean.brier) not in render(older)
        assert str(found.clean.calibration_error) in " ".join(render(older).split())


def test_the_tutorial_quotes_how_good_a_model_is_as_that_is_printed(capsys):
    print_evaluation(evaluate("model", 0))
    tutorial = (Path(__file__).parents[3] / "docs" / "tutorial.md").read_text(encoding="utf-8")
    quoted = re.search(r"<!--head_evaluated-->\n```text\n(.*?)```", tutorial, re.DOTALL)[1]
    said, printed = (re.sub(r"\d\.\d{3}", "N", text) for text in (quoted, capsys.readouterr().out))
    assert said in printed


def test_missed_tumours_and_false_alarms_are_on_the_page_and_printed(images, capsys):
    found = evaluate("model", 0)
    assert found.detection.missed.count > 0
    assert Evaluation.from_json(found.to_json()) == found
    page = without_plotly(render_page(found, images))
    print_evaluation(found)
    printed = capsys.readouterr().out
    for what, errors in found.detection.rows:
        assert f"<td>{what}</td><td>{errors}</td>" in page
        assert f"\n{what.lower()}, {errors}\n" in printed
    assert found.detection.note in unescape(page)
    assert found.detection.note in printed
    older = replace(found, detection=None)
    print_evaluation(older)
    assert "alarm" not in capsys.readouterr().out + without_plotly(render_page(older, images))


def test_what_is_looked_for_first_is_printed_last(capsys):
    told = compare(evaluate("tuned", 0), evaluate("[bold]other", 1))
    print_evaluation(told)
    last = capsys.readouterr().out.splitlines()[-9:]
    assert last[0] == f"accuracy {told.clean.accuracy}   macro-F1 {told.clean.macro_f1}"
    assert last[2].startswith(f"macro-F1 under noise {told.summary.noisy_f1}   the worst, ")
    assert last[3].startswith(f"macro-F1 under what it has never seen {told.unseen_summary.noisy_f1}   the worst, ")
    assert last[4].startswith("gain over [bold]other, paired;")
    assert last[5:] == [f"  {name} {difference}" for name, difference in told.relative.differences.rows]


def test_the_gain_over_the_reference_is_on_the_page(images):
    told = compare(evaluate("tuned", 0), evaluate("other", 1))
    page = without_plotly(render_page(told, images))
    for name, difference in told.relative.differences.rows:
        assert f"<td>{name}</td><td>{difference}</td>" in page
    older = replace(told, relative=replace(told.relative, differences=None))
    assert "Gain over" not in without_plotly(render_page(older, images))
    clean = compare(evaluate("tuned", 0, (), unseen=()), evaluate("other", 1, (), unseen=()))
    page = without_plotly(render_page(clean, images))
    assert "Gain over the reference" in page
    assert "Robustness relative" not in page


def test_what_was_never_seen_stands_apart(images):
    evaluation = compare(evaluate("tuned", 0), evaluate("other", 1))
    page = without_plotly(render_page(evaluation, images))
    assert f"Mean over all: {evaluation.unseen_summary.noisy_f1}, clean {evaluation.clean.macro_f1}." in page
    assert "<td>Motion blur 3</td><td>9, 10</td>" in page
    assert "parameter: quality" in page
    assert page.index('id="relative"') < page.index("Salt pepper") < page.index('id="relative-unseen"')
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    assert "ever seen" not in without_plotly(render_page(evaluate("tuned", 0, unseen=()), images))


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        ({}, "Patients are not named: slices of one patient may lie on both sides"),
        ({"patients": "not named", "sources": "sartaj"}, "Patients are not named: slices of one patient may lie on both sides"),
        ({"patients": "named in part"}, "Patients are named in part: slices of one patient may lie on both sides"),
        ({"patients": "named"}, ""),
        ({"patients": "not named", "sources": "phantoms"}, ""),
    ],
)
def test_what_patients_that_nobody_names_may_be_worth_is_said(images, provenance, said):
    evaluation = replace(evaluate("tuned", 0), provenance=provenance)
    page = without_plotly(render_page(evaluation, images))
    assert page.count("slices of one patient") == bool(said)
    assert said in page
    clean = evaluation.clean
    other = External(40, 0, 0, WithSeen(clean.accuracy, clean.balanced_accuracy, clean.macro_f1))
    elsewhere = replace(evaluation, external=other, provenance={"sources": "sartaj", **provenance})
    page = without_plotly(render_page(elsewhere, images))
    assert page.count("may have trained on other slices of a patient, and the figures here") == bool(said)
    assert "slices of one patient" not in page, "other data is not split"


def test_the_page_says_what_is_in_a_group(images):
    evaluation = replace(evaluate("tuned", 0), provenance={"patients": "named", "patients_measured": "16", "sources": "ward"})
    page = without_plotly(render_page(evaluation, images))
    assert "groups, resampled whole: copies, and all slices of a patient (patients are named: 16).</td>" in page
    generated = replace(evaluation, provenance={"patients": "not named", "sources": "phantoms"})
    assert "resampled whole: copies, and slices of one volume.</td>" in without_plotly(render_page(generated, images))


def test_sets_and_gate_are_on_the_page(images):
    evaluation = evaluate("tuned", 0)
    page = without_plotly(render_page(evaluation, images))
    assert "chose that for 90% of the sets to hold the true\nclass" in page
    assert "cannot rule out: the likeliest and those with a probability of at least\n0.200" in page
    assert f"<td>Clean</td><td>{evaluation.set_rows[0].coverage}</td>" in page
    assert f"<td>Slices that its gate lets pass, clean</td><td>{evaluation.gate_passes}</td>" in page
    page = without_plotly(render_page(replace(evaluation, sets=None, gate_passes=None), images))
    assert "Sets of classes" not in page
    assert "its gate" not in page


def test_every_estimate_lies_in_its_interval_and_none_is_a_point(images):
    labels = np.arange(40) % 4
    right = np.eye(4)[labels] * 0.9 + 0.025
    told = measure(Predictions(right, {("gaussian", 1): right}), image_set(labels), Plan(resamples=50, threshold=0.5))
    assert "1.000 (1.000 to 1.000)" not in render_page(told)
    for seed in range(5):
        for text in re.findall(
            r"[\d.]+ \([\d.]+ to [\d.]+\)", evaluate("m", seed).to_json() + without_plotly(render_page(evaluate("m", seed)))
        ):
            value, low, high = map(float, re.findall(r"[\d.]+", text))
            assert low <= value <= high


def test_names_are_escaped(images):
    page = without_plotly(render_page(evaluate("<script>alert(1)</script>", 0), images))
    assert "<script>alert" not in page


@pytest.mark.parametrize(("noises", "labels"), [((), LABELS), (NOISES, np.full(10, 2)), (("ghosting",), np.array([1]))])
def test_little_to_show_is_shown(noises, labels, images):
    assert "Confusion matrices" in render_page(evaluate("model", 0, noises, labels), images)


def test_text_of_a_stranger_stays_text_and_only_known_scripts_run(images):
    text = '</script><img src="http://evil.example/x">'
    told = evaluate(text, 0)
    told = replace(told, provenance={text: text}, classes=(text, *told.classes[1:]))
    page = without_plotly(render_page(told, images, evaluate(text, 1)))
    assert "<img src=" not in page.replace('<img alt="" src="data:', "")
    policy = unescape(page.split('Content-Security-Policy" content="')[1].split('"')[0])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    own = 2 + page.count('class="plotly-graph-div"')  # the library, printing, and each chart's
    assert policy.split("style-src")[0].count("sha256-") == own


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ()},
        {"classes": ("x",) * 4},
        {"labels": (9,) * 40},
        {"groups": (1,)},
        {"resamples": 10**9},
        {"noise_seed": -1},
        {"test_set_sha256": "<img src=x>"},
        {"name": "x" * 5000},
        {"summary": None},
        {"unseen_summary": None},
        {"unseen": ()},
    ],
)
def test_an_evaluation_that_contradicts_itself_is_one_line(change):
    text = replace(evaluate("model", 0), **change).to_json()
    with pytest.raises(DataError, match=r"^file\.json: must be JSON written by `tumorcls evaluate`; ") as caught:
        Evaluation.from_json(text, "file.json")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("noises", [(), ("rician",), tuple(SEVERITIES)], ids=["clean", "one", "all"])
def test_it_is_readable_in_any_window(images, noises, tmp_path):
    unseen = tuple(UNSEEN_KINDS) if noises else ()
    against = evaluate("other", 1, noises, unseen=unseen)
    told = compare(evaluate("m" * 200, 0, noises, unseen=unseen), against)
    assert problems(render_page(told, images, against), f"evaluation-{len(noises)}", tmp_path) == []
