"""A model's papers: what it is, where it comes from, how it did, and what it is not for. As Markdown, and as a page.

The sections follow Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes from the model's file or from
its evaluation; nothing is measured here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tumorcls import DISCLAIMER
from tumorcls.config.train_config import VIEW_FIELDS
from tumorcls.errors import DataError
from tumorcls.evaluation.record import Evaluation
from tumorcls.model.saved_model import SavedModel
from tumorcls.noise.kinds import NOISES
from tumorcls.noise.severity import SEVERITIES
from tumorcls.reports.page import policy_tag

_LONGEST = 500  # letters of a text from the model's file
_MARKUP = re.compile(r"[\\`*\[\]<>&|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_TRAINING = (
    *("image_size", "weights", "trainable_from", "batch_norm", "epochs", "batch_size", "learning_rate", "schedule", "dropout"),
    *("label_smoothing", *VIEW_FIELDS, "views"),
)


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
    sections = [
        f"# Model card: {_plain(name)}\n\n> **{DISCLAIMER}**",
        _section("What it is", _identity(model)),
        _section("What it is for, and what not", [_USE]),
        _section("How it was found", _search(model)),
        _section("How it was trained", _training(model)),
        _section("How it did on the test part", _results(model, evaluation)),
        _section("Under noise", _noise(evaluation)),
        _section("How sure it says it is", _confidence(model, evaluation)),
        _section("Limits", [_LIMITS]),
    ]
    return "\n\n".join(sections) + "\n"


def render_page(card: str, name: str) -> str:
    """Returns a card as one HTML page that opens offline. It has no links and no pictures, whatever the card says."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink", "reference"])
    title = escape(f"Model card: {name}")
    return _PAGE.format(policy=policy_tag([_STYLE]), style=_STYLE, title=title, body=reader.render(card))


def _section(title: str, parts: Iterable[str]) -> str:
    return "\n\n".join([f"## {title}", *parts])


def _identity(model: SavedModel) -> Iterator[str]:
    yield (
        f"An image classifier: EfficientNetB0 with a dense layer for {len(model.classes)} classes "
        f"({', '.join(_words(name) for name in model.classes)}), for single slices of brain MRI, resized to "
        f"{model.config.image_size}×{model.config.image_size}."
    )
    versions = [(name, value) for name, value in model.provenance.items() if name in _PACKAGES]
    yield _table(("", ""), [("Weights", _Code(model.sha256)), *((f"Made with {name}", v) for name, v in versions)])


def _search(model: SavedModel) -> Iterator[str]:
    exported = model.provenance.get("exported")
    if not isinstance(exported, Mapping) or not exported:
        yield "Not by a search on record: the config names none."
        return
    yield "By a hyperparameter search; this is what its exported config says of it."
    rows = [(_words(key), value) for key, value in exported.items() if not isinstance(value, Mapping | list)]
    yield _table(("", ""), rows)


def _training(model: SavedModel) -> Iterator[str]:
    config, provenance = {**model.config.model_dump(mode="json"), **model.written}, model.provenance
    data = [config["data"]] if isinstance(config["data"], str) else config["data"]
    folders = ", ".join(str(_Code(Path(folder).name)) for folder in data)  # where they lay is nobody else's business
    images, seed = (provenance.get(key, "not on record") for key in ("trained_on", "seed"))
    yield f"On the {images} of {folders}, with seed {seed}. Near-duplicate images are on one side of the split."
    hashes = [(_words(key), _Code(provenance[key])) for key in ("manifest_sha256", "split_sha256") if key in provenance]
    settings = {**config, "weights": Path(config["weights"]).name}
    yield _table(("setting", "value"), [*hashes, *((_words(key), _value(settings[key])) for key in _TRAINING)])


def _results(model: SavedModel, evaluation: Evaluation) -> Iterator[str]:
    groups = len(set(evaluation.groups))
    yield (
        f"{len(evaluation.labels)} images in {groups} groups of near-duplicates, which no part of search or training opened. "
        f"In brackets: 95% intervals from {evaluation.resamples} bootstrap resamples of groups."
    )
    clean = evaluation.clean
    scores = [("accuracy", clean.accuracy), ("balanced accuracy", clean.balanced_accuracy), ("macro-F1", clean.macro_f1)]
    yield _table(("clean images", "value"), [(title, str(score)) for title, score in scores])
    rows = [
        (
            _words(name),
            str(sum(clean.confusion[i])),
            str(clean.recall[i]),
            *(_number(v[i]) for v in (clean.precision, clean.f1)),
        )
        for i, name in enumerate(evaluation.classes)
    ]
    yield _table(("class", "images", "recall", "precision", "F1"), rows)


def _noise(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.noisy or evaluation.summary is None:
        yield "Not measured. Nothing is known of how it does on noisy scans."
        return
    yield f"Macro-F1 over all noises and severities: {evaluation.summary.noisy_f1}."
    rows = [
        (
            _words(noise),
            NOISES[noise].parameter,
            *(
                f"{condition.scores.macro_f1} at {SEVERITIES[noise][condition.severity - 1]:g}"
                for condition in (evaluation.under(noise)[0], evaluation.under(noise)[-1])
            ),
        )
        for noise in evaluation.noises
    ]
    yield _table(("noise", "parameter", "macro-F1, mildest", "macro-F1, hardest"), rows)
    rows = [
        (_words(noise), *(str(recall) for recall in evaluation.under(noise)[-1].scores.recall)) for noise in evaluation.noises
    ]
    yield "Recall of each class under the hardest severity:"
    yield _table(("noise", *map(_words, evaluation.classes)), rows)


def _confidence(model: SavedModel, evaluation: Evaluation) -> Iterator[str]:
    calibration = model.calibration
    yield (
        f"Its logits are divided by a temperature of {calibration.temperature:.2f}, fitted on {calibration.images} validation "
        f"images. Expected calibration error on the test part: {evaluation.clean.calibration_error}."
    )
    asked = f"(at most {calibration.max_error:.1%} was asked for)."
    if calibration.threshold == 0:
        yield (
            "`tumorcls predict` answers whatever the confidence: on the validation images "
            f"{calibration.error:.1%} of all answers were wrong {asked}"
        )
        return
    yield (
        f'Below a confidence of {calibration.threshold:.3f} `tumorcls predict` answers "uncertain". On the validation images '
        f"{calibration.coverage:.1%} got an answer and {calibration.error:.1%} of these were wrong {asked}"
    )


@dataclass(frozen=True)
class _Code:
    """A text in the typeface of code."""

    text: str

    def __str__(self) -> str:
        return "`" + _line(self.text).replace("`", "'") + "`"


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|") if isinstance(value, _Code) else _plain(value)


def _plain(value: object) -> str:
    """Returns a text that Markdown shows as it is: no link, picture, HTML or table begins in it."""
    return _MARKUP.sub(r"\\\g<0>", _line(str(value)))


def _line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


_PACKAGES = ("tumorcls", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy")

_USE = """For research and education on noise-robust image classification and hyperparameter search.

Not for diagnosis, triage or any decision about a patient; not for images of other organs or modalities. It names one of its
classes for *any* image, a photograph too."""

_LIMITS = """- Public sets do not say how patients, scanners and sequences were chosen. Where patients are not named, slices of
  one patient may lie on both sides of the split, and the figures here are then too good.
- Class and source go together in these sets, so a model can learn the source.
- The noises are simulated. Real scanners, other protocols and artefacts were not tested.
- Class activation maps show what spoke for a class. They do not outline a tumour."""

_STYLE = """<style>
body { font: 15px/1.55 system-ui, sans-serif; color: #1b1f24; max-width: 980px; margin: 0 auto; padding: 16px 24px 48px; }
h1 { font-size: 26px; } h2 { font-size: 20px; margin: 36px 0 6px; }
blockquote { border-left: 4px solid #d55e00; background: #fff4ec; margin: 0; padding: 2px 14px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 10px 0; }
th, td { text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid #e3e6ea; overflow-wrap: anywhere; }
th { color: #4a525c; font-weight: 600; } thead:not(:has(th:not(:empty))) { display: none; }
code { font-size: 12.5px; } li { margin: 4px 0; }
</style>"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">{policy}<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{style}</head>
<body>
{body}</body></html>
"""
