"""Whether a study file still describes the study in the storage: what must stay, and what may change."""

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import TrialState

from search.errors import StudyError
from search.records.attributes import FILE_KEY, file_of, has_former_records
from search.records.rungs import is_paused
from search.storage.open import name_metrics, shared, study_lock
from search.study_file.distributions import describe_space
from search.study_file.load import StudySpec
from search.study_file.tables import Choice
from search.study_file.targets import is_own
from search.text import show


def check_same(study: optuna.Study, spec: StudySpec, *, save: bool = True) -> None:
    """Refuses a file that asks for another study under the same name; saves the file's content with the study if asked to.

    What a trial's value depends on must stay: objective, settings, space, directions and seed. How the search goes about it
    may change: budget, sampler, pruner, priors, enqueued configs. Nothing but the directions binds before there is something to
    compare with, or that is at work or paused: a mistake that let every trial fail can be mended in place.

    Raises:
        StudyError: The study was made from a file that differs.
    """
    _check_usable(study, spec)
    now = describe(spec)
    before = file_of(study)
    _compare(spec, "directions", [direction.name.lower() for direction in study.directions], now["directions"])
    if before is not None and is_bound(study):  # else one of plain Optuna, taken on as it is, or nothing is lost
        for key in ("seed", "space", "objective", "settings"):
            _compare(spec, key, before.get(key), now[key])
    check_kinds(study, spec)
    if save:
        name_metrics(study, spec.metrics)
        if not same(before, now):
            study.set_user_attr(FILE_KEY, now)


def is_bound(study: optuna.Study) -> bool:
    """Returns whether there is a trial with whose value others are compared, or may be: one that is paused has values too."""
    running = {TrialState.RUNNING} if shared(study) is not None else set()  # another machine's
    states = {TrialState.COMPLETE, TrialState.PRUNED} | running
    return any(trial.state in states or is_paused(trial) for trial in study.get_trials(deepcopy=False))


def check_identical(study: optuna.Study, spec: StudySpec) -> None:
    """Refuses whoever would join a study with another file; whoever joins first brings the file.

    Raises:
        StudyError: The files differ in more than budgets, comments and their names.
    """
    _check_usable(study, spec)
    now = describe(spec)
    with study_lock(study):
        before = file_of(study)
        if before is None:
            name_metrics(study, spec.metrics)
            study.set_user_attr(FILE_KEY, now)
            before = now
    for key in (key for key in now if key not in ("file", "sha256", "environment")):
        _compare(spec, key, before.get(key), now[key], "Join with the file that the study was launched with.")
    _compare(spec, "directions", [direction.name.lower() for direction in study.directions], now["directions"])
    check_kinds(study, spec)


def _check_usable(study: optuna.Study, spec: StudySpec) -> None:
    """Refuses a study whose records are of an earlier version, and names that its storage takes for the same."""
    if has_former_records(study):
        raise StudyError(
            f'study "{study.study_name}": must be of this version of search; got one of an earlier version, which named its '
            "attributes otherwise. Add --as NAME to start another study."
        )
    names = {name.casefold(): name for name in spec.space}
    alike = [name for name in spec.space if names[name.casefold()] != name]
    if alike and (among := shared(study)) is not None and not among.tells_case():
        raise StudyError(
            f"{spec.path}: space.{alike[0]}: must differ from the other names by more than its case, as these tables of MySQL "
            f"know none; got {names[alike[0].casefold()]} too. Rename it, or let search make the tables in an empty database."
        )


def describe(spec: StudySpec) -> dict[str, Any]:
    """Returns what is kept of a study file, ready for JSON; settings as written, so without secrets of the environment."""
    space = describe_space(spec.space, spec.conditions)
    if spec.fidelity is not None:
        space[spec.fidelity.name]["fidelity"] = True
    return {
        "file": spec.path.name,
        "sha256": spec.sha256,
        "objective": spec.target,
        "directions": list(spec.directions),
        "seed": spec.seed,
        "space": space,
        "priors": {name: {"prior": prior.value, "confidence": prior.confidence} for name, prior in spec.priors.items()},
        "settings": _jsonable(spec.settings),
        "sampler": _choice(spec.sampler),
        "pruner": _choice(spec.pruner),
        "enqueue": _jsonable(list(spec.enqueue)),
        "environment": list(spec.environment),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {"target" if is_own(choice.name) else "name": choice.name, **_jsonable(choice.options)}


def check_kinds(study: optuna.Study, spec: StudySpec) -> None:
    """Refuses a space that Optuna would not add to the trials that are there, of other programs too.

    Raises:
        StudyError: A trial has a parameter of another kind.
    """
    for trial in study.get_trials(deepcopy=False):
        for name in trial.distributions.keys() & spec.space.keys():
            try:
                check_distribution_compatibility(trial.distributions[name], spec.space[name])
            except ValueError as error:
                raise StudyError(
                    f'{spec.path}: space.{name}: must be of the kind that trial {trial.number} of study "{spec.name}" has; '
                    f"got: {str(error).rstrip('.')}. Add --as NAME to start another study."
                ) from None


def same(before: Any, now: Any) -> bool:
    """Returns whether two values of study files are one: a number that is none is itself, and true is not 1."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() == now.keys() and all(same(before[key], now[key]) for key in before)
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(same, before, now))
    if isinstance(before, bool) is not isinstance(now, bool):
        return False
    return bool(before == now) or (isinstance(before, float) and math.isnan(before) and now != now)


def _compare(spec: StudySpec, key: str, before: Any, now: Any, remedy: str = "") -> None:
    if same(before, now):
        return
    where, was, got = key if key == "enqueue" else f"study.{key}", show(before), show(now)
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        unlike = (each for each in [*before, *now] if not (each in before and each in now and same(before[each], now[each])))
        name = next(unlike)
        where = f"{'objective' if key == 'settings' else key}.{name}"
        was, got = (show(table[name]) if name in table else "nothing" for table in (before, now))
    another = f"Undo the change, or add --as NAME to start another study (--warm-start {spec.name} has it learn from this one)."
    raise StudyError(f'{spec.path}: {where}: must stay as it was in study "{spec.name}", {was}; got {got}. {remedy or another}')


def _jsonable(value: Any) -> Any:
    """TOML has dates and times, JSON has not; they are kept as text."""
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
