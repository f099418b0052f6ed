"""The tables of a study file as pydantic checks them, each by itself; what they mean together is `search.study_file.load`'s."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from search.study_file.base import Table
from search.study_file.conditions import When
from search.study_file.env import is_variable
from search.study_file.limits import MAX_DIRECTIONS, MAX_NAME, MAX_PARAMETERS, MAX_QUEUE, MAX_STORAGE, check_name
from search.study_file.policy import PolicyKeys, RayResources
from search.study_file.rule_errors import check_one_of, rule_error
from search.study_file.space import CategoricalParam, FloatParam, IntParam, Param
from search.study_file.targets import check_target, is_own
from search.study_file.track import TrackTable
from search.text import show

Direction = Literal["minimize", "maximize"]

_LONGEST_NAME = 100  # of a study; with what is added to it, a file name must stay below 255 bytes


def check_study_name(name: str) -> str:
    """Returns the name of a study, or raises the rule that it breaks."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):  # it becomes part of file names
        raise rule_error("must be letters, digits, dots, dashes and underscores", got=show(name), remedy="Change the others.")
    if len(name) > _LONGEST_NAME:
        raise rule_error(f"must have at most {_LONGEST_NAME} characters", got=str(len(name)), remedy="Shorten it.")
    return name


def _check_storage(url: str) -> str:
    if len(url) > MAX_STORAGE or not all(character.isprintable() for character in url):
        rule = f"must be a URL of at most {MAX_STORAGE} characters, without line breaks and other control characters"
        raise rule_error(rule, got=show(url), remedy="Correct it.")
    return url


def _check_variable(name: str) -> str:
    if not is_variable(check_name(name)):
        raise rule_error("must be the name of an environment variable", got=show(name), remedy='Write it without $: "MY_DATA".')
    return name


def _check_parameters(names: Any) -> Any:
    if not isinstance(names, Mapping):
        return names  # what it must be, the model says
    if len(names) > MAX_PARAMETERS:
        raise rule_error(f"must have at most {MAX_PARAMETERS} parameters", got=str(len(names)), remedy="Remove some.")
    seen: dict[str, str] = {}
    for name in names:
        check_name(name)
        if (same := unicodedata.normalize("NFC", name)) in seen:
            rule = "two parameters must not have names that look the same"
            raise rule_error(rule, got=f"{seen[same]!a} and {name!a}", remedy="Rename one.")
        seen[same] = name
    return names


_Name = Annotated[str, AfterValidator(check_name)]
_Variable = Annotated[str, AfterValidator(_check_variable)]


class StudyTable(PolicyKeys):
    """``[study]``."""

    name: Annotated[str, AfterValidator(check_study_name)]
    objective: Annotated[str, AfterValidator(check_target)]
    storage: Annotated[str, Field(min_length=1), AfterValidator(_check_storage)] | None = None
    direction: Direction | None = None
    directions: Annotated[list[Direction], Field(min_length=1, max_length=MAX_DIRECTIONS)] | None = None
    metric: _Name | None = None
    metrics: Annotated[list[_Name], Field(max_length=MAX_DIRECTIONS)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    environment: Annotated[list[_Variable], Field(max_length=MAX_NAME)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check(self) -> Self:
        remedy = 'Write direction = "maximize" or "minimize".'
        check_one_of(("direction", "directions"), self.direction, self.directions, remedy=remedy)
        if self.metric is not None and self.metrics is not None:
            raise rule_error("at most one of metric and metrics may be given", got="both", remedy="Remove one.")
        names = [self.metric] if self.metric is not None else self.metrics
        count = len(self.directions or [self.direction])
        if names is not None and len(names) != count:
            rule = f"metrics must name each of the {count} directions" if count > 1 else "one direction has one metric"
            raise rule_error(rule, got=show(names), remedy="Write as many names as directions.")
        if names is not None and len(set(names)) < len(names):
            raise rule_error("metrics must differ from each other", got=show(names), remedy="Rename one.")
        return self


@dataclass(frozen=True)
class Choice:
    """A sampler or a pruner: its name, or ``module:Class`` for one of the user's own, and its options."""

    name: str
    options: Mapping[str, Any]


class ChoiceTable(Table):
    """``[sampler]`` or ``[pruner]``: one of ours by its name, or any class by its target."""

    model_config = ConfigDict(extra="allow")  # its options
    name: str | None = None
    target: Annotated[str, AfterValidator(lambda target: check_target(target, "Class"))] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        remedy = 'Write name = "...", or target = "package.module:Class".'
        check_one_of(("name", "target"), self.name, self.target, remedy=remedy)
        if self.name is not None and is_own(self.name):
            raise rule_error("a class is named by target", got=show(self.name), remedy="Write target instead.", key="name")
        return self

    def choice(self) -> Choice:
        """Returns what is named."""
        return Choice(self.name or self.target or "", dict(self.model_extra or {}))


class StudyFile(Table):
    """The whole file."""

    study: StudyTable
    space: Annotated[dict[str, Param], Field(min_length=1), BeforeValidator(_check_parameters)]
    sampler: ChoiceTable | None = None
    pruner: ChoiceTable | None = None
    track: TrackTable | None = None
    enqueue: Annotated[list[dict[str, Any]], Field(max_length=MAX_QUEUE)] = Field(default_factory=list)
    objective: dict[str, Any] = Field(default_factory=dict)


def _written(model: type[Table]) -> tuple[str, ...]:
    """The keys of a table as a file writes them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


KNOWN_KEYS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    (): _written(StudyFile),
    ("study",): _written(StudyTable),
    ("study", "executor"): _written(RayResources),
    ("track",): _written(TrackTable),
    ("space", "*", "float"): _written(FloatParam),
    ("space", "*", "int"): _written(IntParam),
    ("space", "*", "categorical"): _written(CategoricalParam),
    **{("space", "*", kind, "when"): _written(When) for kind in ("float", "int", "categorical")},
}
