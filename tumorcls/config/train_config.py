"""What a training run is made of: `TrainConfig`, checked in one place for a trial and for an exported file alike."""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails

from tumorcls.data.labels import BINARY_CLASSES, CLASSES
from tumorcls.data.slices import Which
from tumorcls.data.split import SplitSettings
from tumorcls.errors import ConfigError
from tumorcls.noise.kinds import SEED_NOISES, NoiseName

TrainableFrom = Literal["all", "block2", "block3", "block4", "block5", "block6", "block7", "head"]
OptimizerName = Literal["adam", "adamw", "sgd"]
Score = Literal["clean_f1", "noisy_f1", "robust_f1", "worst_f1"]

NOISE_GRID = 0.05
"""Step of `noise_intensity`, so that trials can share cached views."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class ViewRecipe:
    """How a training image becomes an augmented, noisy view: all that a config says of one, said only here."""

    noises: tuple[NoiseName, ...]
    noise_intensity: float
    clean_share: float
    rotation_degrees: float
    width_shift: float
    height_shift: float
    horizontal_flip: bool


VIEW_FIELDS = tuple(field.name for field in fields(ViewRecipe))


class TrainConfig(BaseModel):
    """Everything that decides what a training run does, except its seed.

    A study's `[objective]` table holds some of these fields, its `[space]` samples others; together they make one config.
    `search export` writes all of them, so that an exported file does not change its meaning when a default does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Data
    data: tuple[str, ...] = Field(min_length=1)
    """Folders of images in a known layout, tables of images, or `phantoms:N[:seed]` for N generated images."""
    slices: Which = "middle"
    """Which slices of a volume are used, where a table names none: the one in the middle, or all that show something."""
    split: SplitSettings = SplitSettings()
    image_size: Annotated[int, Field(ge=32, le=600)] = 150
    """Side of the square input in pixels."""

    # Model
    weights: str = "imagenet"
    """`imagenet` (downloaded by Keras), `phantoms` (trained on generated images, for demos), `none` (random), or the path of a
    weights file without top."""
    trainable_from: TrainableFrom = "all"
    """First part of the network that is trained; all before it is frozen and runs in inference mode."""
    batch_norm: Literal["train", "freeze"] = "freeze"
    """Whether trainable blocks keep their pretrained BatchNormalization statistics, which does better on few images, or not."""

    # Training
    epochs: Annotated[int, Field(ge=1, le=1000)] = 20
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    optimizer: OptimizerName = "adam"
    """Adam; AdamW, with Keras's weight decay of 0.004; or stochastic gradient descent with Nesterov momentum of 0.9."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    schedule: Literal["cosine", "constant", "ema"] = "cosine"
    """Whether the learning rate falls to 0 along a half cosine, an equal step each epoch, or stays. With `ema` it stays, and a
    moving average of the weights is what is measured and saved."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Rate of the dropout before the last dense layer."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    precision: Literal["auto", "float32", "mixed"] = "auto"
    """`mixed` computes training steps in bfloat16 and keeps weights, optimizer and predictions in float32; `auto` does so on a
    GPU whose arithmetic for it is faster, where blocks of the network are trained."""

    # Prediction
    mirror_average: bool = False
    """Whether an answer is the mean of the logits of an image and of its mirror image: steadier, and half as fast."""

    # Noise and augmentation of training images
    noise_intensity: Fraction = 0.5
    """Largest intensity of the training noise; 0 trains on clean images."""
    noises: tuple[NoiseName, ...] = Field(default=SEED_NOISES, min_length=1)
    clean_share: Fraction = 0.25
    """Share of training images that stay clean each time they are seen."""
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 10.0
    width_shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Largest shift to either side, as a fraction of the width."""
    height_shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    horizontal_flip: bool = True
    views: Annotated[int, Field(ge=0, le=64)] = 4
    """Augmented and noisy views of each training image whose frozen activations are cached and used in turn, an epoch each.

    0 draws noise and augmentation anew each epoch and caches nothing; so does `trainable_from = "all"`, which freezes nothing.
    """

    # Validation
    score: tuple[Score, ...] = Field(default=("robust_f1",), min_length=1)
    """What a trial returns: macro-F1 on clean validation images, on noisy ones, the mean of both, or the worst noise's.

    Several make one value for each direction of the study, in their order; such a study has nothing to prune by.
    """
    measured_noises: tuple[NoiseName, ...] = SEED_NOISES
    """Noises under which validation images are measured, whatever the model was trained with; may be none for `clean_f1`."""
    noisy_images: Annotated[int, Field(ge=1)] = 256
    """Validation images (a fixed, stratified subset) on which robustness is measured at a run's end; half after each epoch."""

    @field_validator("data", "score", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is(cls, value: object, info: ValidationInfo) -> object:
        """Refuses what would be trained as another value than the one that was sampled: "5" as 5, true as 1, 1 as true."""
        field = cls.model_fields[info.field_name or ""]
        if field.annotation in (int, float) and isinstance(value, bool | str):
            raise ValueError("must be a number")
        if field.annotation is bool and not isinstance(value, bool):
            raise ValueError("must be true or false")
        if any(isinstance(item, str) and "\0" in item for item in (value if isinstance(value, list | tuple) else [value])):
            raise ValueError("must have no null character")
        return value

    @field_validator("noise_intensity")
    @classmethod
    def _on_grid(cls, value: float) -> float:
        """Refuses what lies between the steps, rather than to train on another value than the sampler has drawn."""
        steps = round(value / NOISE_GRID)
        if abs(value / NOISE_GRID - steps) > 1e-6:
            raise ValueError(f"must be a multiple of {NOISE_GRID}: give it such a step in the study file")
        return round(steps * NOISE_GRID, 10)  # one value for 0.30000000000000004 and 0.3

    @model_validator(mode="after")
    def _freezing_needs_weights_to_keep(self) -> Self:
        if self.batch_norm == "freeze" and self.weights == "none":
            raise ValueError('weights = "none" has no statistics to keep: it needs batch_norm = "train"; got "freeze"')
        return self

    @model_validator(mode="after")
    def _noisy_scores_need_noise(self) -> Self:
        noisy = [score for score in self.score if score != "clean_f1"]
        if not self.measured_noises and noisy:
            raise ValueError(f'score = "{noisy[0]}" needs at least one of measured_noises; got none')
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their indices."""
        return BINARY_CLASSES if self.split.binary else CLASSES

    @property
    def can_go_on(self) -> bool:
        """Whether a run is the beginning of one with more epochs, so that it can be taken up where it ended."""
        return self.schedule != "cosine"

    @property
    def is_generated(self) -> bool:
        """Whether all its images are drawn: none is a scan."""
        return all(folder.startswith("phantoms:") for folder in self.data)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before its figures are there, a line each."""
        generated = self.is_generated
        lines = ["the images are generated, so no figure here says anything about real scans"] if generated else []
        if self.weights == "none":
            lines.append('weights = "none": the network begins with RANDOM weights, so expect far less than with ImageNet\'s')
        elif self.weights == "phantoms" and not generated:
            lines.append(
                'weights = "phantoms" have learned from generated images alone; for real scans use weights = "imagenet"'
            )
        return tuple(lines)

    @property
    def recipe_sha256(self) -> str:
        """Hash of all settings but the data and their split: what models of several data can have in common."""
        return hashlib.sha256(self.model_dump_json(exclude={"data", "split"}).encode()).hexdigest()

    @property
    def cached_views(self) -> int:
        """Number of views whose activations are cached; 0 where nothing is frozen or caching is off."""
        return 0 if self.trainable_from == "all" else self.views

    @property
    def view_recipe(self) -> ViewRecipe:
        """How its views are drawn; configs with equal recipes share them."""
        return ViewRecipe(**{name: getattr(self, name) for name in VIEW_FIELDS})

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> "TrainConfig":
        """Checks values, as TOML gives them, that came from a study file, a trial or an exported config.

        Raises:
            ConfigError: Names where they came from, the field, the rule, what was received and the remedy.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(f"{where}: {describe_problem(error.errors(include_url=False)[0])}") from None


def short(value: object) -> str:
    """Returns a value as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def describe_problem(problem: ErrorDetails) -> str:
    """Returns what is wrong with a config, as pydantic found it, in one line: place, rule, what was received, remedy."""
    place = ".".join(str(part) for part in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        known = list(SplitSettings.model_fields if problem["loc"][0] == "split" else TrainConfig.model_fields)
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        remedy = f"Did you mean {close[0]}?" if close else f"Known settings: {', '.join(known)}."
        return f"{place}: unknown setting; got {short(problem['input'])}. {remedy}"
    if problem["type"] == "missing":
        return f"{place}: must be given; got nothing. Add it to the [objective] table."
    received = "" if problem["loc"] == () else f"; got {short(problem['input'])}"
    return f"{place}: {rule_of(problem)}{received}. Change it in the study file or the config."


def rule_of(problem: ErrorDetails) -> str:
    """Returns the rule that a config breaks, as a message has it."""
    rule = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{rule[0].lower()}{rule[1:]}"
