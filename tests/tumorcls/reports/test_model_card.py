import re
from dataclasses import replace
from html import escape

import keras
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

from tests.browser import problems
from tests.tumorcls.pictures import image_set
from tumorcls import DISCLAIMER
from tumorcls.data.labels import BINARY_CLASSES, CLASSES, exact_percent
from tumorcls.errors import DataError
from tumorcls.evaluation.evaluate import Plan, evaluate_model
from tumorcls.evaluation.external import External, WithSeen
from tumorcls.evaluation.robustness import compare
from tumorcls.model.calibration import Calibration
from tumorcls.model.conformal import ClassSets
from tumorcls.model.gate import Gate, GateLimit
from tumorcls.model.saved_model import SavedModel
from tumorcls.reports import evaluation_page
from tumorcls.reports.limits import NOT_OF_ONE, map_grid, other_diseases
from tumorcls.reports.model_card import render_page, write_card


@pytest.fixture(scope="module")
def model(make_config):
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])
    provenance = {
        "exported": {
            **{"study": "brain|mri", "trial": 7, "value": 0.8312345678},
            **{"storage": "postgresql://me@cluster.example/studies", "study_file": "/home/me/ward/demo.toml"},
            "finalists": {"study": "brain|mri.finalists", "mean": 0.81234, "seeds": [1, 2], "values": [0.8, 0.82468]},
        },
        "train_images": {"glioma": 11, "meningioma": 12, "no_tumor": 13, "pituitary": 14},
        "seed": 3,
        "trained_on": "training images",
        "manifest_sha256": "aaa111",
        "split_sha256": "bbb222",
        "keras": "3.15.0",
    }
    return SavedModel(CLASSES, make_config(), provenance, Calibration(1.37, 0.621, 0.05, 0.875, 0.043, 120), network=network)


@pytest.fixture(scope="module")
def evaluation(model):
    labels = np.arange(24) % 4
    images = np.broadcast_to((40 + 50 * labels)[:, None, None, None], (24, 8, 8, 3)).astype(np.uint8)

    def predict(batch):
        return np.eye(4)[np.rint((batch.mean(axis=(1, 2, 3)) - 40) / 50).astype(int).clip(0, 3)]

    test = image_set(labels, images=images, groups=np.arange(24) // 2)
    plan = Plan(
        ("gaussian", "speckle"),
        resamples=50,
        unseen=("motion_blur", "gamma_up"),
        unseen_severities=(1, 3),
        sets=ClassSets(0.9, 0.3),
    )
    return evaluate_model(predict, test, plan, provenance={"model_sha256": model.sha256})


def test_numbers_are_those_of_model_and_evaluation(model, evaluation):
    card = write_card(model, evaluation, "model")
    assert f"| macro-F1 | {evaluation.clean.macro_f1} |" in card
    which = (
        "The noises are gaussian and speckle, drawn on finished pictures. Of what MR scanners mostly do, these are lacking: "
    )
    told = f"over all noises and severities: {evaluation.summary.noisy_f1}. {which}rician, ghosting, bias field, motion blur."
    assert told in card
    assert f"{evaluation.under('speckle')[-1].scores.macro_f1} at 0.4" in card
    for index, name in enumerate(CLASSES):
        assert f"| {name.replace('_', ' ')} | 6 | {evaluation.clean.recall[index]} |" in card
    for fact in ("24 images in 12 groups", "`aaa111`", "`bbb222`", model.sha256, "3.15.0", "| trial | 7 |", r"brain\|mri"):
        assert fact in card
    for fact in (
        "temperature of 1.37",
        "120 validation",
        "confidence of 0.621",
        "105 of 120 got an answer (87.5%)",
        "5 of these were wrong (4.3%;",
    ):
        assert fact in card
    assert DISCLAIMER in card
    assert f"| Missed: tumours called no tumor | {evaluation.detection.missed} |" in card
    assert f"| False alarms: no tumor called a tumour | 0 of 6: {evaluation.detection.false_alarms.share} |" in card
    assert evaluation.detection.note in card
    assert "Missed" not in write_card(model, replace(evaluation, detection=None), "model"), "older files do not say"


def test_where_study_and_data_lay_is_not_on_it(model, evaluation):
    config = model.config.model_copy(update={"data": ("/home/me/ward/scans",), "weights": "/home/me/weights.h5"})
    moved = replace(model, config=config)
    for card in (write_card(moved, evaluation, "model"), render_page(write_card(moved, evaluation, "model"), "model")):
        assert "scans" in card
        for where in ("cluster.example", "storage", "/home", "demo.toml"):
            assert where not in card


def test_what_was_never_seen_stands_apart(model, evaluation):
    card = write_card(model, evaluation, "model")
    summary = evaluation.unseen_summary
    assert f"{summary.noisy_f1}; under the worst, gamma up:\n{summary.worst_f1}." in card
    assert f"| gamma up | exponent | {evaluation.under('gamma_up')[0].scores.macro_f1} at 1.3 |" in card
    assert "and their severities" in card
    middle = replace(evaluation, unseen=tuple(one for one in evaluation.unseen if one.severity == 3))
    card = write_card(model, middle, "model")
    assert "| corruption | parameter | macro-F1 at severity 3 of 5 |" in card
    assert "and their severities" not in card
    without = replace(evaluation, unseen=(), unseen_summary=None)
    assert "Nothing is known of how it does on scans that blur" in write_card(model, without, "model")


def test_sets_and_gate_are_told(model, evaluation):
    card = write_card(model, evaluation, "model")
    assert "for 90% of the sets to hold the true class" in card
    assert "the likeliest and all with a probability of at least 0.300" in card
    assert f"| clean | {evaluation.set_rows[0].coverage} |" in card
    assert f"classes in a set. {NOT_OF_ONE} On images unlike the validation images nothing is promised.\n\n| images |" in card
    assert card.count("to hold the true class") == 1
    assert f"modalities. {other_diseases(CLASSES)} It names" in " ".join(card.split())
    assert map_grid(1, model.config.image_size) in card
    assert "for *any* image, a photograph too" in card
    gate = Gate(np.ones((3, 3), np.float16), GateLimit(1.0, 0.99))
    passes = replace(evaluation, gate_passes=evaluation.clean.accuracy)
    gated = " ".join(write_card(replace(model, gate=gate), passes, "model").split())
    assert f'("no brain MRI slice"): of the clean test images a share of {passes.gate_passes} passes.' in gated
    assert "a photograph too" not in gated


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (None, "(split conformal prediction)"),
        (16, "(split conformal prediction; from 120 images in 16 groups, between 79.4% and 99.8% of them may)"),
        (8, "(split conformal prediction; from 120 images in 8 groups, too few to promise it)"),
    ],
)
def test_a_card_promises_what_so_many_groups_can_tell(model, evaluation, groups, told):
    calibration = replace(model.calibration, sets=ClassSets(0.9, 0.3), groups=groups)
    assert told in " ".join(write_card(replace(model, calibration=calibration), evaluation, "model").split())


def test_what_another_network_chose_is_told_as_that_ones(model, evaluation):
    """`train --final` trains on the validation images too: no figure of them is of that network, and no promise."""
    images = np.zeros((24, 8, 8, 3), np.uint8)
    told = {}
    for trained_on in ("training images", "training and validation images"):
        provenance = {**evaluation.provenance, "trained_on": trained_on}
        shown = replace(model, provenance={**model.provenance, "trained_on": trained_on})
        sure = replace(shown, calibration=replace(model.calibration, threshold=0.0))
        papers = [write_card(one, evaluation, "model") for one in (shown, sure)]
        page = evaluation_page.render_page(replace(evaluation, provenance=provenance), images)
        told[trained_on] = [" ".join(paper.split()) for paper in (*papers, page)]
    for first, final in zip(*told.values(), strict=True):
        for text in ("first network", "holds for that one", "which has trained on them"):
            assert text in final
            assert text not in first
    for text in (
        *("On the validation images 105 of 120 got an answer (87.5%)", "on the validation images 5 of all 120 answers"),
        *("90% of the sets to hold the true class (", "the counts are above |", "For new images like those this holds"),
        "On images unlike the validation images nothing",
    ):
        assert any(text in paper for paper in told["training images"])
        assert not any(text in paper for paper in told["training and validation images"])
    card, sure_card, _ = told["training and validation images"]
    assert (
        "On the validation images, with the first network, 105 of 120 got an answer (87.5%) and 5 of these were wrong (4.3%;"
        in card
    )
    assert "on the validation images, with the first network, 5 of all 120 answers were wrong (4.3%;" in sure_card
    assert "90% of the first network's sets to hold the true class" in card
    assert "trained on the validation images too |" in card


def test_what_a_machine_reads_is_what_hugging_face_reads(model, evaluation):
    name = 'a "name": {x} # \n---'
    front = write_card(replace(model, config=model.config), evaluation, name).split("\n---\n")[0].removeprefix("---\n")
    told = yaml.safe_load(front)
    assert (told["library_name"], told["pipeline_tag"]) == ("keras", "image-classification")
    [index] = told["model-index"]
    assert index["name"] == 'a "name": {x} # ---'
    [result] = index["results"]
    assert result["task"] == {"type": "image-classification"}
    assert set(result["dataset"]) >= {"name", "type"}
    assert result["metrics"][0] == {"type": "accuracy", "name": "Accuracy, clean", "value": 1.0}
    assert "library_name" not in render_page(write_card(model, evaluation, name), "model")


def test_the_card_leads_with_the_brier_score_where_it_was_measured(model, evaluation):
    older = replace(evaluation, clean=replace(evaluation.clean, brier=None))
    card, before = (" ".join(write_card(model, one, "model").split()) for one in (evaluation, older))
    error = f"expected calibration error {evaluation.clean.calibration_error}, which chance makes too high"
    assert f"On the test part: Brier score (0 to 2, lower is better) {evaluation.clean.brier}; {error}" in card
    assert f"On the test part: {error}" in before


def test_results_come_before_hashes_and_figures_have_three_digits(model, evaluation):
    card = write_card(model, evaluation, "model")
    assert card.index("How it did on the test part") < card.index("How it was found") < card.index("`aaa111`")
    assert not re.search(r"\b0\.\d{4,}", card)
    for fact in ("| value | 0.831 |", "| mean | 0.812 |", "| values | 0.8, 0.825 |", "| optimizer | adam |"):
        assert fact in card
    assert "| train | 11 | 12 | 13 | 14 |" in card
    assert "| test | 6 | 6 | 6 | 6 |" in card


def test_what_was_not_trained_by_epochs_has_none_on_its_card(model, evaluation):
    config = model.config.model_copy(update={"epochs": 17, "optimizer": "sgd"})
    trained = replace(model, config=config)
    fitted = replace(trained, provenance={**model.provenance, "method": "logistic regression, C = 0.01"})
    cards = [write_card(each, evaluation, "model") for each in (trained, fitted)]
    for row in ("| epochs | 17 |", "| optimizer | sgd |", "| learning rate |", "| dropout |", "| batch size |"):
        assert [row in card for card in cards] == [True, False]
    for row in ("| method | logistic regression, C = 0.01 |", "| method |"):
        assert [row in card for card in cards] == [False, True]
    assert all("| views |" in card and "| trainable from |" in card for card in cards)


@pytest.mark.parametrize(("share", "shown"), [(0.995, "99.5%"), (0.07, "7%"), (0.99995, "99.995%")])
def test_what_was_asked_for_is_not_rounded(model, evaluation, share, shown):
    asked = replace(evaluation, sets=replace(evaluation.sets, asked=share))
    calibration = replace(model.calibration, max_error=1 - share)
    card = write_card(replace(model, calibration=calibration), asked, "model")
    assert f"for {shown} of the sets to hold the true class" in card
    assert f"at most {exact_percent(1 - share)} was asked for" in card
    assert f"chose that for {shown} of the sets" in " ".join(
        evaluation_page.render_page(asked, np.zeros((24, 8, 8, 3), np.uint8)).split()
    )


def test_what_it_cannot_say_is_said_to_be_open(model, evaluation):
    card = write_card(model, evaluation, "model")
    assert "None was measured on the same test images." in card
    for question in ("Does it hold on data of another hospital?", "Which scanners, sequences and sites?"):
        assert f"| {question} | open: " in card
    found = {**model.provenance, "exported": {"study": "s", "trial": 7}}
    assert "no finalists are on record" in write_card(replace(model, provenance=found), evaluation, "model")
    against = compare(evaluation, replace(evaluation, name="hand-picked"))
    assert "divided by those of hand-picked" in write_card(model, against, "model")


def test_nothing_is_said_of_sources_and_patients_that_are_not_there(model, evaluation):
    def card(*folders):
        return write_card(replace(model, config=model.config.model_copy(update={"data": folders})), evaluation, "model")

    assert "learn the source" not in card("sartaj")
    assert "learn the source" in card("sartaj", "nickparvar")
    assert "Patients are not named" in card("sartaj")
    assert "Patients are not named" not in card("phantoms:64")
    assert "Its images are generated." in card("phantoms:64")
    in_part = replace(evaluation, provenance={**evaluation.provenance, "patients": "named in part"})
    ours = replace(model, config=model.config.model_copy(update={"data": ("sartaj",)}))
    assert "- Patients are named in part: slices of one patient may lie on both" in write_card(ours, in_part, "model")
    assert "public sets" not in card("phantoms:64").lower()
    assert "Its images are generated." not in card("phantoms-of-our-ward"), "a folder may be called so"


@pytest.mark.parametrize(
    ("provenance", "groups", "kept"),
    [
        (
            {"sources": "north, south", "patients": "named", "patients_measured": "7"},
            "copies, and all slices of a patient (patients are named: 7).",
            "by groups: copies, and all slices of a patient; the counts",
        ),
        (
            {"sources": "north", "patients": "named in part", "patients_measured": "3"},
            "copies, and all slices of a patient who is named (patients are named in part: 3).",
            "by groups: copies, and all slices of a patient who is named; the counts",
        ),
        (
            {"sources": "north, sartaj", "patients": "named"},
            "copies, and all slices of a patient (patients are named).",
            "and all slices of a patient; the counts",
        ),
        (
            {"sources": "north"},
            "copies, and slices of one volume (patients are not named).",
            "by groups: copies, and slices of one volume; the counts",
        ),
    ],
)
def test_a_card_says_of_clinical_data_what_is_so(model, evaluation, provenance, groups, kept):
    """Groups are patients where these are named, and nothing is said of public sets that were not used."""
    ours = replace(model, config=model.config.model_copy(update={"data": ("images.csv",)}))
    theirs = replace(evaluation, provenance={**evaluation.provenance, **provenance})
    card = " ".join(write_card(ours, theirs, "model").split())
    assert f"24 images in 12 groups, resampled whole: {groups} No part of search or training" in card
    assert kept in card
    assert f"`images.csv` (sources: {provenance['sources']})" in card
    assert f"On one side of the split are {theirs.together}." in card
    assert "the sources named above; how they were chosen is not on this card" in card
    assert "This card does not know how patients, scanners and sequences were chosen." in card
    for untrue in ("public set", "the sets do not", "labels of the sets", "near-duplicate"):
        assert untrue not in card.lower()
    assert ("In SARTAJ class and sequence go together" in card) == ("sartaj" in provenance["sources"])


def test_a_card_says_of_public_sets_what_they_do_not_say(model, evaluation):
    ours = replace(model, config=model.config.model_copy(update={"data": ("sartaj", "nickparvar")}))
    theirs = replace(evaluation, provenance={**evaluation.provenance, "sources": "nickparvar, sartaj", "patients": "not named"})
    card = " ".join(write_card(ours, theirs, "model").split())
    for told in (
        *("Public sets do not say how patients", "public sets, named above", "open: the sets do not say"),
        *("In SARTAJ class and sequence go together", "nothing about a contrast-enhanced T1 slice without a tumour"),
    ):
        assert told in card
    assert "In Nickparvar's set no_tumor is of another origin" in card
    theirs = replace(theirs, provenance={**theirs.provenance, "sources": "nickparvar"})
    assert "SARTAJ" not in write_card(ours, theirs, "model")


def test_the_weights_that_it_began_with_are_on_it(model, evaluation):
    begun = replace(model, provenance={**model.provenance, "weights": "ccc333"})
    card = write_card(begun, evaluation, "model")
    assert f"| Model | `{model.sha256}` |\n| Initial weights | `ccc333` |" in card
    assert "Initial weights" not in write_card(model, evaluation, "model"), "a file of before may not say it"


def test_a_model_that_is_never_uncertain_says_so(model, evaluation):
    calibration = Calibration(1.0, 0.0, 0.05, 1.0, 0.028, 120)
    sure = SavedModel(model.classes, model.config, model.provenance, calibration, network=model.network)
    card = write_card(sure, evaluation, "model")
    assert (
        "answers whatever the confidence: on the validation images 3 of all 120 answers were wrong (2.8%; at most 5% was"
        in card
    )
    assert "uncertain" not in card


def test_an_evaluation_of_another_model_is_refused(model, evaluation):
    other = SavedModel(model.classes, model.config, model.provenance, model.calibration, network=model.network)
    other.network.layers[-1].bias.assign([1, 2, 3, 4])
    try:
        with pytest.raises(DataError, match="must be of this model"):
            write_card(other, evaluation, "model")
    finally:
        model.network.layers[-1].bias.assign([0, 0, 0, 0])


def test_the_page_holds_the_tables_and_executes_nothing(model, evaluation):
    page = render_page(write_card(model, evaluation, "<script>alert(1)</script>"), "<b>x</b>")
    assert page.count("<table>") >= 6
    assert "<script" not in page
    assert "<title>Model card: &lt;b&gt;x" in page
    assert DISCLAIMER in page


HOSTILE = (
    '<img src="http://127.0.0.1:9/x">',
    "![x](http://127.0.0.1:9/x)",
    '"><script src=//evil.example></script>',
    "[click](javascript:alert(1))",
    "<http://evil.example>",
    "a | b\n| c | d |\n\n# no heading\n![x](http://evil.example/y)",
    "`code` **bold** &lt;img src=x&gt;",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_stranger_stays_text(model, evaluation, text):
    provenance = {**model.provenance, "exported": {text: text, "study": text}, "keras": text}
    config = model.config.model_copy(update={"data": (text,), "weights": text})
    page = render_page(
        write_card(SavedModel(CLASSES, config, provenance, model.calibration, network=model.network), evaluation, text), text
    )
    for tag in ("<img", "<a ", "<script", "<strong>b", "<h1>no"):
        assert tag not in page.replace(f"<strong>{DISCLAIMER}", "")
    rows = [line.count("<td") for line in page.split("<tr>") if "keras" in line]
    assert rows == [2]
    assert escape(" ".join(text.split()).replace("`", "")[:20]) in page.replace("`", "")
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_classes_must_be_the_models(model, evaluation):
    other = replace(evaluation, classes=("a", "b", "c", "d"))
    with pytest.raises(DataError, match="must have the model's classes"):
        write_card(model, other, "model")


@pytest.mark.slow
def test_it_is_readable_in_any_window(model, evaluation, tmp_path):
    assert problems(render_page(write_card(model, evaluation, "m" * 200), "model"), "card", tmp_path) == []


def test_other_data_is_on_the_card_of_a_model_and_of_one_of_the_same_settings(model, evaluation):
    clean = evaluation.clean
    external = External(30, 5, 1, WithSeen(clean.accuracy, clean.balanced_accuracy, clean.calibration_error))
    other = replace(evaluation, external=external, provenance={"model_sha256": model.sha256, "sources": "ward"})
    recipe = {"model_sha256": "another", "recipe_sha256": model.config.recipe_sha256, "sources": "north"}
    card = write_card(model, evaluation, "model", [other, replace(other, provenance=recipe)])
    row = f"| 24 | 6 | {clean.macro_f1} | {clean.calibration_error} |"
    assert f"| ward {row}" in card
    assert f"| north, by a model of these settings that was trained without it {row}" in card
    assert "open: not tested" not in card
    assert "open: not tested" in write_card(model, evaluation, "model")
    with pytest.raises(DataError, match="must be of this model"):
        write_card(model, evaluation, "model", [replace(other, provenance={**recipe, "recipe_sha256": "0"})])
    with pytest.raises(DataError, match="the first must be of the model's own test part"):
        write_card(model, other, "model", [other])


@pytest.mark.parametrize("classes", [BINARY_CLASSES, CLASSES[::-1]])
@pytest.mark.parametrize("of_this_model", [True, False])
def test_no_evaluation_of_other_classes_is_on_a_card(model, evaluation, classes, of_this_model):
    scores = evaluation.clean
    external = External(24, 0, 0, WithSeen(scores.accuracy, scores.balanced_accuracy, scores.macro_f1))
    found = {"model_sha256": model.sha256} if of_this_model else {"recipe_sha256": model.config.recipe_sha256}
    other = replace(evaluation, classes=classes, external=external, provenance=found)
    with pytest.raises(DataError, match=f"must have the model's classes .*; got {', '.join(classes)}"):
        write_card(model, evaluation, "model", [other])
