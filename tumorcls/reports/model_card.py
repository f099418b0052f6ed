"""Writes a model's papers: what it is, where it comes from, how it did, and what it is not for. As Markdown, and as a page.

The sections (``card.md``) follow Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes from the model's
file or from its evaluation; nothing is measured here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tumorcls.config.train_config import VIEW_FIELDS
from tumorcls.data.labels import words
from tumorcls.data.sources import LAYOUTS, PUBLIC
from tumorcls.errors import DataError
from tumorcls.evaluation.record import BOTH_PARTS, Evaluation
from tumorcls.evaluation.relative import RelativeError
from tumorcls.model.saved_model import SavedModel
from tumorcls.noise.severity import meaning_of, parameter_of
from tumorcls.reports.limits import NOT_OF_ONE, map_grid, noises, other_diseases
from tumorcls.reports.page import environment, number, render

_FRONT = "---\n"
_STRIDE = 32  # pixels of EfficientNetB0's input to a cell of its last convolution
_LONGEST = 500  # letters of a text from the model's file
_MARKUP = re.compile(r"[\\`*\[\]<>&|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_NETWORK = ("image_size", "weights", "trainable_from", "batch_norm")
_DESCENT = ("epochs", "batch_size", "learning_rate", "schedule", "optimizer", "dropout", "label_smoothing")
_VIEWS = (*VIEW_FIELDS, "views", "mirror_average")
_MADE_OF = {
    "weights": "Initial weights",
    **{name: words(name) for name in ("manifest_sha256", "split_sha256")},
    **{"averaged": "Averaged weights of", "held": "Mean of the logits of"},
}
_PACKAGES = ("tumorcls", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy")


def write_card(model: SavedModel, evaluation: Evaluation, name: str, externals: Sequence[Evaluation] = ()) -> str:
    """Returns the card as Markdown (CommonMark with tables).

    The evaluation is of the same model, on its test part. `externals` are of it too, on other data; or of one of the same
    settings, on a source that it was trained without.

    Raises:
        DataError: An evaluation is of another model or of other data than it must be.
    """
    for one in (evaluation, *externals):
        same_settings = one is not evaluation and one.provenance.get("recipe_sha256") == model.config.recipe_sha256
        _check_model(one, model, same_settings=same_settings)
    if evaluation.external is not None or any(one.external is None for one in externals):
        rule = "the first must be of the model's own test part, those of --external of other data"
        raise DataError(f"evaluation: {rule}; got another. Run `tumorcls evaluate` without --data for the first.")
    provenance, config = model.provenance, {**model.config.model_dump(mode="json"), **model.written}
    # Where study and data lay is nobody else's business.
    exported = {key: value for key, value in _table(provenance.get("exported")).items() if key not in ("storage", "study_file")}
    data = [config["data"]] if isinstance(config["data"], str) else config["data"]
    sources = evaluation.provenance.get("sources", "not on record")
    method = provenance.get("method")  # where it is no training run's, whose settings it had not
    settings = {**config, "weights": Path(config["weights"]).name, "method": method}
    named = (*_NETWORK, *(("method",) if method else _DESCENT), *_VIEWS)
    relative, clean = evaluation.relative, evaluation.clean
    noise_ends, by_noise = _by_noise(evaluation, evaluation.noises)
    unseen_ends, by_unseen = _by_noise(evaluation, evaluation.unseen_kinds)
    reader = environment().overlay(finalize=_markdown)
    reader.filters = {**reader.filters, "yaml": _yaml}
    card = reader.get_template("reports/card.md").render(
        name=name,
        model=model,
        evaluation=evaluation,
        other_diseases=other_diseases(model.classes),
        which_noises=noises(evaluation.noises) if evaluation.noises else "",
        not_of_one=NOT_OF_ONE,
        map_grid=map_grid(-(-model.config.image_size // _STRIDE), model.config.image_size),
        identity=[
            ("Model", _cell(model.sha256)),
            *((name, _cell(provenance[key])) for key, name in _MADE_OF.items() if key in provenance),
            *((f"Made with {package}", version) for package, version in provenance.items() if package in _PACKAGES),
        ],
        exported=[(words(key), _value(value)) for key, value in exported.items() if not isinstance(value, Mapping | list)],
        takes_over=provenance.get("trained_on") == BOTH_PARTS,
        trained_on=provenance.get("trained_on", "not on record"),
        seed=provenance.get("seed", "not on record"),
        folders=Markup(", ").join(_code(Path(folder).name) for folder in data),
        settings=[(words(key), _value(settings[key])) for key in named if key in settings],
        sources=sources,
        public=set(sources.split(", ")) <= PUBLIC,
        caveats=[layout.caveat for layout in LAYOUTS if layout.caveat and layout.name in sources.split(", ")],
        finalists=[(words(key), _value(value)) for key, value in _table(exported.get("finalists")).items()],
        counts=_counts(provenance, evaluation),
        relative=_relative(relative.errors if relative else ()),
        relative_unseen=_relative(relative.unseen if relative else ()),
        set_rows=[(words(row.noise or "clean"), row.coverage, row.size) for row in evaluation.set_rows],
        several_sources=len(data) > 1,
        externals=[_external(one) for one in externals],
        classes=[words(label) for label in model.classes],
        by_class=[
            (words(label), sum(clean.confusion[i]), clean.recall[i], number(clean.precision[i]), number(clean.f1[i]))
            for i, label in enumerate(evaluation.classes)
        ],
        noise_ends=noise_ends,
        by_noise=by_noise,
        unseen_ends=unseen_ends,
        by_unseen=by_unseen,
        recalls=[(words(noise), *evaluation.under(noise)[-1].scores.recall) for noise in evaluation.noises],
    )
    return f"{card}\n"


def _check_model(evaluation: Evaluation, model: SavedModel, *, same_settings: bool) -> None:
    if not same_settings and evaluation.provenance.get("model_sha256") != model.sha256:
        raise DataError(
            f"evaluation: must be of this model ({model.sha256[:12]}); "
            f"got {evaluation.provenance.get('model_sha256', 'none')[:12]}. Run `tumorcls evaluate` on it."
        )
    if evaluation.classes != model.classes:
        raise DataError(
            f"evaluation: must have the model's classes ({', '.join(model.classes)}); "
            f"got {', '.join(evaluation.classes)}. Run `tumorcls evaluate` on it."
        )


def _external(evaluation: Evaluation) -> tuple[object, ...]:
    """Returns a row of other data: what it is, how much of it was measured and left out, and macro-F1 without and with that."""
    external = evaluation.external
    assert external is not None, "checked when the card was asked for"
    shares = (evaluation.clean.macro_f1, external.with_seen.macro_f1)
    without = ", by a model of these settings that was trained without it" if "recipe_sha256" in evaluation.provenance else ""
    return evaluation.provenance.get("sources", "not on record") + without, len(evaluation.labels), external.left_out, *shares


def render_page(card: str, name: str) -> str:
    """Returns a card as one HTML page that opens offline. It has no links and no pictures, whatever the card says."""
    from markdown_it import MarkdownIt

    if card.startswith(_FRONT):  # what a machine reads of it
        card = card.partition(f"\n{_FRONT}")[2]
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink", "reference"])
    body = re.sub(r"<th\b", '<th scope="col"', reader.render(card))
    return render("reports/card.html", scripts=[], name=name, body=Markup(body))


def _yaml(text: str) -> Markup:
    """Returns a text as YAML has it, which takes JSON's."""
    return Markup(json.dumps(_line(text)))


def _markdown(value: object) -> Markup:
    """Returns a text that Markdown shows as it is: no link, picture, HTML or table begins in it."""
    return value if isinstance(value, Markup) else Markup(_MARKUP.sub(r"\\\g<0>", _line(str(value))))


def _code(text: str) -> Markup:
    """Returns a text in the typeface of code."""
    return Markup("`" + _line(text).replace("`", "'") + "`")


def _cell(text: str) -> Markup:
    """Returns a text in the typeface of code for a table, whose cells no typeface keeps from ending at a bar."""
    return _code(text).replace("|", r"\|")


def _line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)


def _by_noise(evaluation: Evaluation, noises: Sequence[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Returns for each noise what its parameter is, and the macro-F1 at its mildest and its hardest severity, or at the one.

    Before them stands how the columns of macro-F1 are called.
    """
    severities = {condition.severity for noise in noises for condition in evaluation.under(noise)}
    names, ends = ["macro-F1, mildest", "macro-F1, hardest"], [0, -1]
    if len(severities) == 1:
        names, ends = [f"macro-F1 at severity {severities.pop()} of 5"], [0]
    rows = []
    for noise in noises:
        conditions = [evaluation.under(noise)[end] for end in ends]
        values = (f"{one.scores.macro_f1} at {parameter_of(noise, one.severity)}" for one in conditions)
        rows.append((words(noise), meaning_of(noise), *values))
    return names, rows


def _relative(errors: Sequence[RelativeError]) -> list[tuple[object, ...]]:
    return [(words(error.noise), error.be, error.rbe) for error in errors]


def _table(value: object) -> Mapping[str, Any]:
    """Returns a table from the model's file; an empty one where it holds something else."""
    return value if isinstance(value, Mapping) else {}


def _counts(provenance: Mapping[str, Any], evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Returns how many images of each class each part has; the test part's alone where the model says nothing."""
    rows = []
    for part in ("train", "validation"):
        if counts := _table(provenance.get(f"{part}_images")):
            rows.append((part, *(str(counts.get(name, 0)) for name in evaluation.classes)))
    return [*rows, ("test", *(str(sum(row)) for row in evaluation.clean.confusion))]
