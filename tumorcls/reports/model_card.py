"""Writes a model's papers: what it is, where it comes from, how it did, and what it is not for. As Markdown, and as a page.

The sections (``card.md``) follow Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes from the model's
file or from its evaluation; nothing is measured here.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from tumorcls.config.train_config import VIEW_FIELDS
from tumorcls.errors import DataError
from tumorcls.evaluation.record import Evaluation
from tumorcls.labels import words
from tumorcls.model.saved_model import SavedModel
from tumorcls.noise.kinds import NOISES
from tumorcls.noise.severity import SEVERITIES
from tumorcls.reports.page import environment, number, render

_LONGEST = 500  # letters of a text from the model's file
_MARKUP = re.compile(r"[\\`*\[\]<>&|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_TRAINING = (
    *("image_size", "weights", "trainable_from", "batch_norm", "epochs", "batch_size", "learning_rate", "schedule", "dropout"),
    *("label_smoothing", *VIEW_FIELDS, "views"),
)
_PACKAGES = ("tumorcls", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy")


def write_card(model: SavedModel, evaluation: Evaluation, name: str) -> str:
    """Returns the card as Markdown (CommonMark with tables).

    Args:
        model: From `tumorcls.model.saved_model.load_model`.
        evaluation: Of the same model, on its test part.
        name: Of the model, for people.

    Raises:
        DataError: The evaluation is of another model or of another split.
    """
    if evaluation.provenance.get("model_sha256") != model.sha256:
        raise DataError(
            f"evaluation: must be of this model ({model.sha256[:12]}); "
            f"got {evaluation.provenance.get('model_sha256', 'none')[:12]}. Run `tumorcls evaluate` on it."
        )
    if evaluation.classes != model.classes:
        raise DataError(
            f"evaluation: must have the model's classes ({', '.join(model.classes)}); "
            f"got {', '.join(evaluation.classes)}. Run `tumorcls evaluate` on it."
        )
    provenance, config = model.provenance, {**model.config.model_dump(mode="json"), **model.written}
    exported, data = provenance.get("exported"), config["data"]
    hashes = [(words(key), _cell(provenance[key])) for key in ("manifest_sha256", "split_sha256") if key in provenance]
    settings = {**config, "weights": Path(config["weights"]).name}
    clean, noises = evaluation.clean, [(noise, evaluation.under(noise)) for noise in evaluation.noises]
    card = (
        environment()
        .overlay(finalize=_markdown)
        .get_template("reports/card.md")
        .render(
            name=name,
            model=model,
            evaluation=evaluation,
            identity=[
                ("Weights", _cell(model.sha256)),
                *((f"Made with {package}", version) for package, version in provenance.items() if package in _PACKAGES),
            ],
            exported=[(words(key), value) for key, value in exported.items() if not isinstance(value, Mapping | list)]
            if isinstance(exported, Mapping)
            else [],
            trained_on=provenance.get("trained_on", "not on record"),
            seed=provenance.get("seed", "not on record"),
            # Where they lay is nobody else's business.
            folders=Markup(", ").join(_code(Path(folder).name) for folder in ([data] if isinstance(data, str) else data)),
            settings=[*hashes, *((words(key), _value(settings[key])) for key in _TRAINING)],
            classes=[words(label) for label in model.classes],
            by_class=[
                (words(label), sum(clean.confusion[i]), clean.recall[i], number(clean.precision[i]), number(clean.f1[i]))
                for i, label in enumerate(evaluation.classes)
            ],
            by_noise=[
                (
                    words(noise),
                    NOISES[noise].parameter,
                    *(f"{c.scores.macro_f1} at {SEVERITIES[noise][c.severity - 1]:g}" for c in (conditions[0], conditions[-1])),
                )
                for noise, conditions in noises
            ],
            recalls=[(words(noise), *conditions[-1].scores.recall) for noise, conditions in noises],
        )
    )
    return f"{card}\n"


def render_page(card: str, name: str) -> str:
    """Returns a card as one HTML page that opens offline. It has no links and no pictures, whatever the card says."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink", "reference"])
    return render("reports/card.html", scripts=[], name=name, body=Markup(reader.render(card)))


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
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
