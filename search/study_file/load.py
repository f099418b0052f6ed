"""A study file (TOML) -> a frozen `StudySpec`: the one place where it is read. Which keys there are is `tables`' to say.

Every error is a `StudyFileError` whose message is one line: *where: rule; got what was received. Remedy.*
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from search.errors import StudyFileError
from search.study_file import own_class, pruners, samplers
from search.study_file.conditions import Condition
from search.study_file.distributions import describe_distribution
from search.study_file.enqueue import as_queue, queue_errors
from search.study_file.env import variable_errors
from search.study_file.fidelity import Fidelity, find_fidelity
from search.study_file.limits import Unreadable, read_toml
from search.study_file.policy import Policy
from search.study_file.priors import Prior, read_priors
from search.study_file.pruner_reach import Reach, reach_of
from search.study_file.rule_errors import Problems, explain, format_error, rule_error
from search.study_file.space import IntParam, Param, parents_first
from search.study_file.tables import KNOWN_KEYS, Choice, Direction, StudyFile, check_study_name
from search.study_file.targets import check_target, is_own
from search.study_file.track import Track, check_installed

MOST_LINES = 20
"""Errors of a file that are told; how many more there are stands in one line more."""

# Without a [pruner], only the worst quarter is given up. Trials of different lengths anneal at different speeds, so a long one
# in its middle is behind a short one at its end, and the median takes most long ones for bad (docs/search-quality.md).
_PRUNER = Choice("percentile", {"percentile": 75.0})


@dataclass(frozen=True)
class StudySpec:
    """All that a study file says, checked.

    Attributes:
        path: The file, as it was named: so messages call it.
        whole_path: The same wherever the current folder is by now; relative paths in the file start at its folder.
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
        fidelity: The parameter by which trials are paused and promoted; None where each runs to its end.
        track: Where the trials are shown as runs; None where nowhere.
    """

    path: Path
    whole_path: Path
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
    fidelity: Fidelity | None = None
    track: Track | None = None

    @property
    def drawn(self) -> Mapping[str, BaseDistribution]:
        """The part of the space that a sampler draws from: all but the fidelity, which is the driver's choice."""
        return {name: dist for name, dist in self.space.items() if self.fidelity is None or name != self.fidelity.name}


def load(path: str | Path, *, imports: bool = True) -> StudySpec:
    """Reads and checks a study file.

    With `imports` a sampler and a pruner of the user's own are imported, and checked too. Who only looks at a study does not
    ask for it, as that runs their code.

    Raises:
        StudyFileError: The file cannot be read, is not TOML, or breaks a rule.
    """
    path = Path(path)
    try:
        content, tables = read_toml(path)
    except Unreadable as error:
        raise StudyFileError(f"{path}: {error}") from None
    try:
        file = StudyFile.model_validate(tables)
    except ValidationError as error:
        raise study_file_error(path, explain(error, KNOWN_KEYS)) from None
    return _spec(path, content, file, imports=imports)


def study_file_error(path: Path, lines: Sequence[str]) -> StudyFileError:
    """Returns the error of a file that has these things to mend, a line each."""
    more = [f"{len(lines) - MOST_LINES} more errors."] * (len(lines) > MOST_LINES)
    return StudyFileError(*(f"{path}: {line}" for line in [*lines[:MOST_LINES], *more]))


def sound_parts(path: Path) -> tuple[str, Mapping[str, Any], Mapping[str, Any]] | None:
    """Returns what of a file that breaks a rule its objective can be asked about: target, sound part of the space, settings.

    None is for a file whose objective cannot be found, or whose settings are no table.
    """
    try:
        _, tables = read_toml(path)
        target = check_target(tables["study"]["objective"])
        space, settings = dict(tables.get("space", {})), dict(tables.get("objective", {}))
    except (Unreadable, PydanticCustomError, KeyError, TypeError, ValueError):
        return None
    sound, adapter = {}, TypeAdapter[Any](Param)
    for name, table in space.items():
        with contextlib.suppress(ValidationError, PydanticCustomError):
            sound[name] = describe_distribution(adapter.validate_python(table).distribution())
    return target, sound, settings


def renamed(spec: StudySpec, name: str, where: str) -> StudySpec:
    """Returns a file's study under another name, in the same storage; `where` is what gave the name.

    Raises:
        StudyFileError: A study cannot have that name.
    """
    try:
        return replace(spec, name=check_study_name(name))
    except PydanticCustomError as error:
        raise StudyFileError(format_error(error, where)) from None


def check_reports(spec: StudySpec, reports: Mapping[str, Sequence[str]]) -> None:
    """Refuses a pruner that could never prune, or would take runs for epochs, now that the objective says what it reports.

    `reports` is as in `reach_of`. The file's own budget was looked at with the file; a launch may well try fewer trials.

    Raises:
        StudyFileError: The pruner, which is not the default, needs other reports, or more.
    """
    if error := _idle_pruner(spec, reach_of(spec.space, spec.settings, reports)):
        raise StudyFileError(f"{spec.path}: {format_error(error, 'pruner')}")


def unpruned(spec: StudySpec) -> str:
    """Returns a line that says so where the budget that a call gives is too small for the file's pruner; else an empty one."""
    if not _idle_pruner(spec, Reach(spec.policy.trials)):
        return ""
    return f"note: with {spec.policy.trials} trial{'s' * (spec.policy.trials != 1)} nothing is pruned"


def _idle_pruner(spec: StudySpec, reach: Reach) -> PydanticCustomError | None:
    """Returns why the pruner could never prune; None where it can, and for the default and one of the user's own."""
    if spec.pruner != _PRUNER and not is_own(spec.pruner.name):
        try:
            pruners.check(spec.pruner.name, spec.pruner.options, len(spec.directions), reach)
        except PydanticCustomError as error:
            return error
    return None


def _check_beside(sampler: Choice, fidelity: Fidelity | None) -> None:
    """Raises the broken rule for a sampler that knows trials otherwise than as a fidelity, which pauses them, shows them."""
    if fidelity is None:
        return
    rule = f"beside the fidelity {fidelity.name}, a sampler must learn from the study's trials alone"
    if is_own(sampler.name) and own_class.looks_past(sampler.name):
        got = f"{sampler.name}, which reads the storage, where {fidelity.name} is a parameter of the trials"
        raise rule_error(rule, got=got, remedy="Take another sampler, or remove fidelity.", key="target")
    if samplers.keeps(sampler.name, sampler.options):
        got = f"{sampler.name}, which is kept for the launch because it remembers what it was told"
        raise rule_error(rule, got=got, remedy="Write keep = false if it need not, or remove fidelity.", key="target")


def _spec(path: Path, content: bytes, file: StudyFile, *, imports: bool) -> StudySpec:
    study = file.study
    directions = tuple(study.directions or ([study.direction] if study.direction else []))
    count = len(directions)
    sampler = file.sampler.choice() if file.sampler else Choice("tpe", {})
    finite = sampler.name if sampler.name in samplers.FINITE else None
    fidelities = [name for name, param in file.space.items() if isinstance(param, IntParam) and param.fidelity]
    # With several directions no pruner can work, and with a fidelity none is needed.
    default = _PRUNER if count == 1 and not fidelities else Choice("none", {})
    pruner = file.pruner.choice() if file.pruner else default
    conditions = {name: param.when.condition() for name, param in file.space.items() if param.when is not None}
    problems = Problems()
    space: Mapping[str, BaseDistribution] = {}
    with problems.of("space"):
        space = parents_first({name: param.distribution() for name, param in file.space.items()}, conditions)
    priors: Mapping[str, Prior] = {}
    fidelity: Fidelity | None = None
    if space:
        with problems.of("space"):
            fidelity = find_fidelity(fidelities, space, conditions, finite=finite, pruner=pruner.name, directions=count)
        with problems.of("sampler"):
            if imports or not is_own(sampler.name):
                samplers.check(sampler.name, sampler.options, space, count, conditions)
                _check_beside(sampler, fidelity)
            with problems.of("space"):
                written = {name: (param.prior, param.confidence) for name, param in file.space.items()}
                priors = read_priors(written, space, sampler.name, usable=samplers.weighs(sampler.name))
        problems.add(queue_errors(file.enqueue, space, conditions, whole=finite), "enqueue")
    with problems.of("pruner"):
        if file.pruner and (imports or not is_own(pruner.name)):
            pruners.check(pruner.name, pruner.options, count, Reach(study.trials))
    storage = study.storage or f"sqlite:///{study.name}.db"
    track: Track | None = None
    with problems.of("track"):
        track = file.track.track(path.parent, storage) if file.track else None
        if track is not None and imports:
            check_installed(track)
    problems.add(variable_errors(file.objective, study.environment), "objective")
    if problems.lines:
        raise study_file_error(path, problems.lines)
    return StudySpec(
        path=path,
        whole_path=path.absolute(),
        sha256=hashlib.sha256(content).hexdigest(),
        name=study.name,
        target=study.objective,
        storage=storage,
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
        fidelity=fidelity,
        track=track,
    )
