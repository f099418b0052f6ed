"""A study file (TOML) -> a frozen `StudySpec`: the one place where it is read and checked.

Every error is a `StudyFileError` whose message is one line: *where: rule; got what was received. Remedy.*
"""

import hashlib
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from optuna.distributions import BaseDistribution
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from search.errors import StudyFileError
from search.study_file import pruners, samplers
from search.study_file.conditions import Condition, When
from search.study_file.enqueue import as_queue, queue_errors
from search.study_file.env import is_variable, variable_errors
from search.study_file.limits import (
    MAX_DIRECTIONS,
    MAX_NAME,
    MAX_PARAMETERS,
    MAX_QUEUE,
    MAX_STORAGE,
    Unreadable,
    check_name,
    read_toml,
)
from search.study_file.policy import Policy, PolicyKeys, RayKeys
from search.study_file.priors import Prior, read_priors
from search.study_file.pruner_reach import Reach, reach_of
from search.study_file.rule_errors import Problems, explain, format_error, rule_error
from search.study_file.space import CategoricalParam, FloatParam, IntParam, Param, parents_first
from search.text import show

Direction = Literal["minimize", "maximize"]

_LONGEST_NAME = 100  # of a study; with what is added to it, a file name must stay below 255 bytes

_MOST_LINES = 20  # of errors


@dataclass(frozen=True)
class Choice:
    """A sampler or a pruner: its name and its options."""

    name: str
    options: Mapping[str, Any]


# Without a [pruner], only the worst quarter is given up. Trials of different lengths anneal at different speeds, so a long one
# in its middle is behind a short one at its end, and the median takes most long ones for bad (docs/search-quality.md).
_PRUNER = Choice("percentile", {"percentile": 75.0})


@dataclass(frozen=True)
class StudySpec:
    """All that a study file says, checked.

    Attributes:
        path: The file, as it was named.
        sha256: Of the file's bytes.
        name: The study's name in its storage.
        target: The objective, as ``module:attribute``.
        storage: The storage's URL.
        directions: One, or several for a study with several values.
        metrics: The names of the values; empty where the file gives none.
        policy: Budgets, and what is done about faults.
        seed: Fixes the parameters drawn and every trial's own seed.
        space: The distributions by parameter, in the order of the file, but the parent of a condition before its children.
        conditions: The parameters that not every trial has, and when one has them.
        priors: What the author believes of a parameter, by its name.
        sampler: What draws parameters.
        pruner: What gives trials up.
        enqueue: Configs tried first, each naming the whole space or a part of it.
        settings: The objective's own settings as written: environment variables are not yet expanded.
        environment: The variables that they may name beside those that begin with `TUMORCLS_`.
    """

    path: Path
    sha256: str
    name: str
    target: str
    storage: str
    directions: tuple[Direction, ...]
    metrics: tuple[str, ...]
    policy: Policy
    seed: int
    space: Mapping[str, BaseDistribution]
    conditions: Mapping[str, Condition]
    priors: Mapping[str, Prior]
    sampler: Choice
    pruner: Choice
    enqueue: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    environment: tuple[str, ...] = ()


def load(path: str | Path) -> StudySpec:
    """Reads and checks a study file.

    Raises:
        StudyFileError: The file cannot be read, is not TOML, or breaks a rule.
    """
    path = Path(path)
    try:
        content, tables = read_toml(path, "the study file")
    except Unreadable as error:
        raise StudyFileError(f"{path}: {error}") from None
    try:
        file = _StudyFile.model_validate(tables)
    except ValidationError as error:
        raise study_file_error(path, explain(error, _KNOWN_KEYS)) from None
    return _spec(path, content, file)


def study_file_error(path: Path, lines: Sequence[str]) -> StudyFileError:
    """Returns the error of a file that has these things to mend, a line each."""
    more = [f"{len(lines) - _MOST_LINES} more errors."] * (len(lines) > _MOST_LINES)
    return StudyFileError(*(f"{path}: {line}" for line in [*lines[:_MOST_LINES], *more]))


def renamed(spec: StudySpec, name: str, where: str) -> StudySpec:
    """Returns a file's study under another name, in the same storage; `where` is what gave the name.

    Raises:
        StudyFileError: A study cannot have that name.
    """
    try:
        return replace(spec, name=_check_name(name))
    except PydanticCustomError as error:
        raise StudyFileError(format_error(error, where)) from None


def check_reports(spec: StudySpec, reports: Mapping[str, Sequence[str]]) -> None:
    """Refuses a pruner that could never prune, or would take runs for epochs, now that the objective says what it reports.

    Args:
        spec: The study's file.
        reports: See `reach_of`.

    Raises:
        StudyFileError: The pruner, which is not the default, needs other reports, or more.
    """
    if spec.pruner == _PRUNER:
        return
    reach = reach_of(spec.policy.trials, spec.space, spec.settings, reports)
    try:
        pruners.check(spec.pruner.name, spec.pruner.options, len(spec.directions), reach)
    except PydanticCustomError as error:
        raise StudyFileError(f"{spec.path}: {format_error(error, 'pruner')}") from None


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):  # it becomes part of file names
        raise rule_error("must be letters, digits, dots, dashes and underscores", got=show(name), remedy="Change the others.")
    if len(name) > _LONGEST_NAME:
        raise rule_error(f"must have at most {_LONGEST_NAME} characters", got=str(len(name)), remedy="Shorten it.")
    return name


def _check_target(target: str) -> str:
    names = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
    if len(target) > MAX_NAME or not re.fullmatch(f"{names}:{names}", target):
        raise rule_error("must be module:attribute", got=show(target), remedy='Write it as "package.module:Objective".')
    if (module := target.partition(".")[0].partition(":")[0]) in sys.stdlib_module_names:
        rule = "must be an objective of yours or of a package, not of Python's own modules"
        raise rule_error(rule, got=show(target), remedy=f"Rename the module, if {module} is yours.")
    return target


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


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Study(PolicyKeys):
    name: Annotated[str, AfterValidator(_check_name)]
    objective: Annotated[str, AfterValidator(_check_target)]
    storage: Annotated[str, Field(min_length=1), AfterValidator(_check_storage)] | None = None
    direction: Direction | None = None
    directions: Annotated[list[Direction], Field(min_length=1, max_length=MAX_DIRECTIONS)] | None = None
    metric: _Name | None = None
    metrics: Annotated[list[_Name], Field(max_length=MAX_DIRECTIONS)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    environment: Annotated[list[Annotated[str, AfterValidator(_check_variable)]], Field(max_length=MAX_NAME)] = Field(
        default_factory=list
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.direction is None) == (self.directions is None):
            got = "neither" if self.direction is None else "both"
            remedy = 'Write direction = "maximize" or "minimize".'
            raise rule_error("exactly one of direction and directions is required", got=got, remedy=remedy)
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


class _Choice(_Table):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    name: str

    def choice(self) -> Choice:
        return Choice(self.name, dict(self.model_extra or {}))


class _StudyFile(_Table):
    study: _Study
    space: Annotated[dict[str, Param], Field(min_length=1), BeforeValidator(_check_parameters)]
    sampler: _Choice | None = None
    pruner: _Choice | None = None
    enqueue: Annotated[list[dict[str, Any]], Field(max_length=MAX_QUEUE)] = Field(default_factory=list)
    objective: dict[str, Any] = Field(default_factory=dict)


def _written(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a table as a file writes them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


_KNOWN_KEYS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    (): _written(_StudyFile),
    ("study",): _written(_Study),
    ("study", "executor"): _written(RayKeys),
    ("space", "*", "float"): _written(FloatParam),
    ("space", "*", "int"): _written(IntParam),
    ("space", "*", "categorical"): _written(CategoricalParam),
    **{("space", "*", kind, "when"): _written(When) for kind in ("float", "int", "categorical")},
}


def _spec(path: Path, content: bytes, file: _StudyFile) -> StudySpec:
    study = file.study
    directions = tuple(study.directions or ([study.direction] if study.direction else []))
    sampler = file.sampler.choice() if file.sampler else Choice("tpe", {})
    # With several directions no pruner can work.
    pruner = file.pruner.choice() if file.pruner else (_PRUNER if len(directions) == 1 else Choice("none", {}))
    conditions = {name: param.when.condition() for name, param in file.space.items() if param.when is not None}
    problems = Problems()
    space: Mapping[str, BaseDistribution] = {}
    with problems.of("space"):
        space = parents_first({name: param.distribution() for name, param in file.space.items()}, conditions)
    priors: Mapping[str, Prior] = {}
    if space:
        with problems.of("sampler"):
            samplers.check(sampler.name, sampler.options, space, len(directions), conditions)
            with problems.of("space"):
                written = {name: (param.prior, param.confidence) for name, param in file.space.items()}
                priors = read_priors(written, space, sampler.name, usable=samplers.weighs(sampler.name))
        whole = sampler.name if sampler.name in samplers.FINITE else None
        problems.add(queue_errors(file.enqueue, space, conditions, whole=whole), "enqueue")
    with problems.of("pruner"):
        if file.pruner:
            pruners.check(pruner.name, pruner.options, len(directions), Reach(study.trials))
    problems.add(variable_errors(file.objective, study.environment), "objective")
    if problems.lines:
        raise study_file_error(path, problems.lines)
    return StudySpec(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        name=study.name,
        target=study.objective,
        storage=study.storage or f"sqlite:///{study.name}.db",
        directions=directions,
        metrics=tuple(study.metrics or ([study.metric] if study.metric else [])),
        policy=study.policy(),
        seed=study.seed,
        space=space,
        conditions=conditions,
        priors=priors,
        sampler=sampler,
        pruner=pruner,
        enqueue=as_queue(file.enqueue, space),
        settings=file.objective,
        environment=tuple(study.environment),
    )
