"""A trial as a TOML config that can be trained from, with the provenance of its values."""

import os
import platform
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import tomli_w
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from search.driver.compatibility import describe, same
from search.errors import StudyError
from search.records.attributes import config_of, file_of, provenance_of, seed_of, warm_link
from search.records.constraints import set_by_objective
from search.records.values import value_keys, value_names
from search.results.finalist_ranking import Ranking
from search.results.likely_best import Winner
from search.results.ranking import Metric, best_trials, describe_results_missing, metrics_of, rank
from search.storage.url import absolute, hide_password
from search.study_file.env import PREFIX, variables_in
from search.study_file.load import StudySpec
from search.text import one_line, plain, show_path

COMPROMISE = "compromise"
"""Chooses the trial of the Pareto front that is nearest to the ideal point, each direction scaled to the front's extent."""

_OWN_FILTER = re.compile(r"(local|worktree)\s+(filter|lfs\.extension)\.")
"""A repository's own setting of what its files go through, as ``git config --show-scope`` has it; Git LFS has such, too."""


def export_trial(
    study: optuna.Study,
    spec: StudySpec | None,
    url: str,
    number: int | None = None,
    by: str | None = None,
    ranking: Ranking | None = None,
    likely: Winner | None = None,
    together: int = 1,
) -> str:
    """Returns a COMPLETE trial as TOML: the tables ``config`` and ``provenance``, and with others beside it ``members``.

    Args:
        study: The study.
        spec: The study's file; None where a URL named the study. What is on record of the file goes before what it says now.
        url: The storage; its password is left out.
        number: The trial; None for the winner of the finalists, or else the likely best, or else that of the best value.
        by: How to choose from the Pareto front of several directions: the name of a metric, whose best is taken, or
            `COMPROMISE`.
        ranking: The study's finalists, whose winner is taken; None where `number` or `by` chooses.
        likely: The likely best trial; None there, and where a finalist has won.
        together: So many of the best trials, that one first, are the file's members: their configs and seeds, from which an
            objective may make one model.

    Raises:
        StudyError: There is no such trial, or not one best trial, or are not so many trials.
    """
    winner = ranking.winner if ranking is not None else None
    chosen = winner.number if winner is not None else likely.trial.number if likely is not None else number
    trial = _choose(study, chosen, by)
    settings = _settings(study, spec)
    document: dict[str, Any] = {"config": _config(trial, settings), "provenance": _provenance(study, trial, spec, url, by)}
    header = f"# Trial {trial.number} of study {plain(study.study_name)}, written by search export.\n"
    if ranking is not None and winner is not None:
        header += f"# The winner of {ranking.study}: {ranking.describe_choice()}\n"
        document["provenance"]["finalists"] = {
            "study": ranking.study,
            "mean": winner.score.mean,
            "half_interval_95": winner.score.half,
            "seeds": list(winner.values),
            "values": list(winner.values.values()),
        }
    if likely is not None:
        document["provenance"]["estimate"] = likely.estimate
        if likely.differs:
            header += f"# Chosen by estimate: {likely.describe()}.\n"
    if together > 1:
        members = _best_with(study, trial, together)
        numbers = ", ".join(str(member.number) for member in members)
        header += f"# Its members are the trials {numbers}: one model can be made of them all.\n"
        document["members"] = [
            {"trial": member.number, "seed": seed_of(member), "config": _config(member, settings)} for member in members
        ]
    where = f'study "{study.study_name}": trial {trial.number}'
    may_read = {*(spec.environment if spec is not None else ()), *_named_in_record(study)}
    return f"{header}\n{_as_toml(document, may_read, where)}"


def _choose(study: optuna.Study, number: int | None, by: str | None) -> FrozenTrial:
    where = f'study "{study.study_name}"'
    if number is not None:
        trials = study.get_trials(deepcopy=False)
        if number >= len(trials):
            raise StudyError(f"{where}: --trial must be below {len(trials)}; got {number}. See search status --all.")
        state = trials[number].state
        if state is not TrialState.COMPLETE:
            raise StudyError(f"{where}: --trial must name a COMPLETE trial; got {state.name}. See search status --all.")
        return trials[number]
    best = best_trials(study)
    if not best:
        got = describe_results_missing(study.get_trials(deepcopy=False))
        raise StudyError(f"{where}: must have a COMPLETE trial; got {got}. Run search launch until one is.")
    metrics = metrics_of(study)
    names = [metric.name for metric in metrics]
    if by is not None and by not in (*names, COMPROMISE):
        raise StudyError(f"{where}: --by must be one of {', '.join([*names, COMPROMISE])}; got {by}. Write one of them.")
    if len(best) > 1 and by is None:
        front = ", ".join(str(trial.number) for trial in best)
        raise StudyError(
            f"{where}: several directions have no single best trial; got the Pareto front {front}. "
            f"Add --by {' | '.join([*names, COMPROMISE])}, or --trial."
        )
    losses = _losses(metrics, best)
    return best[int((losses if by is None or by == COMPROMISE else losses[:, [names.index(by)]]).sum(axis=1).argmin())]


def _best_with(study: optuna.Study, chosen: FrozenTrial, count: int) -> list[FrozenTrial]:
    """Returns a trial and the best of the others, so many in all."""
    where = f'study "{study.study_name}": --ensemble'
    metrics = metrics_of(study)
    if len(metrics) > 1:
        raise StudyError(f"{where}: needs a single direction; got {len(metrics)}. Leave it out.")
    others = [trial for trial in rank(study.get_trials(deepcopy=False), metrics) if trial.number != chosen.number]
    if len(others) + 1 < count:
        raise StudyError(f"{where}: must be at most the number of COMPLETE trials, {len(others) + 1}; got {count}. Lower it.")
    return [chosen, *others[: count - 1]]


def _losses(metrics: Sequence[Metric], front: Sequence[FrozenTrial]) -> NDArray[np.float64]:
    """Returns how far each trial of a front is from the best in each direction, squared, in units of the front's extent."""
    values = np.array([[metric.loss_of(trial) for metric in metrics] for trial in front])
    values /= np.maximum(np.abs(values).max(axis=0), 1)  # the squares of the largest numbers are none
    extent = np.ptp(values, axis=0)
    return np.asarray(np.square((values - values.min(axis=0)) / np.where(extent > 0, extent, 1)))


def _settings(study: optuna.Study, spec: StudySpec | None) -> Mapping[str, Any]:
    """Returns the objective's settings that a study's values were measured with: its file may say others by now."""
    kept = file_of(study)
    if spec is not None and (kept is None or same(kept["settings"], describe(spec)["settings"])):
        return spec.settings  # dates are text in the record
    return kept["settings"] if kept is not None else {}


def _named_in_record(study: optuna.Study) -> list[str]:
    """Returns the variables that the study's file names for its settings to read, as it was when the study was launched."""
    names = (file_of(study) or {}).get("environment")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _config(trial: FrozenTrial, settings: Mapping[str, Any]) -> dict[str, Any]:
    recorded = config_of(trial)
    return dict(recorded) if recorded is not None else {**settings, **trial.params}


def _provenance(study: optuna.Study, trial: FrozenTrial, spec: StudySpec | None, url: str, by: str | None) -> dict[str, Any]:
    """Returns a trial's values and where they come from. A key that is None is not written, and no value has its name."""
    link, names = warm_link(trial), value_names(study)
    own = {
        "study": study.study_name,
        "trial": trial.number,
        "metrics": names,
        "seed": seed_of(trial),
        "params": trial.params,
        "constraints": set_by_objective(trial) or None,
        "storage": hide_password(absolute(url)),
        **_file(study, spec),
        **_commit(),
        "python": platform.python_version(),
        "optuna": optuna.__version__,
        "finished": trial.datetime_complete,
        "warm_start": {"study": link.study, "trial": link.trial} if link else None,
        "recorded": provenance_of(trial) or None,
        "chosen_by": by,
        "finalists": None,
        "estimate": None,
    }
    return {**dict(zip(value_keys(names, own), trial.values or [], strict=False)), **own}


def _file(study: optuna.Study, spec: StudySpec | None) -> dict[str, Any]:
    """What is on record of the study's file, and where that lies; without a record, the file as it is."""
    kept = file_of(study) or (describe(spec) if spec is not None else {})
    path = show_path(spec.whole_path) if spec is not None else kept.get("file")
    return {"objective": kept.get("objective"), "study_file": path, "study_file_sha256": kept.get("sha256")}


def _commit() -> dict[str, Any]:
    """The commit of the current folder, and whether files differ from it; None outside a repository.

    Of a repository that says itself what filters its files go through, the latter is None: git would run them to compare.
    """
    head, settings, changes = _git("rev-parse", "HEAD"), _git("config", "--list", "--name-only", "--show-scope"), None
    if head and settings is not None and not any(map(_OWN_FILTER.match, settings.splitlines())):
        changes = _git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    return {"git_commit": head, "git_dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    """Returns what git says; None where it fails. Of what a repository's settings name, it runs at most filters.

    The folder may be somebody else's. There, git would also run hooks and what watches files, and fetch what is missing.
    """
    own, alone = ("core.fsmonitor=", f"core.hooksPath={os.devnull}"), {**os.environ, "GIT_ALLOW_PROTOCOL": "none"}
    command = ["git", "--no-optional-locks", *(word for setting in own for word in ("-c", setting)), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, timeout=10, env=alone)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _as_toml(document: Mapping[str, Any], may_read: Collection[str], where: str) -> str:
    """Returns a document as TOML.

    Before its tables stand those variables that its config reads, which must be named there, and the places without a value.

    Raises:
        StudyError: It holds what TOML cannot: text that UTF-8 cannot, or tables within tables without end.
    """
    try:
        config, members = document["config"], document.get("members", [])
        read = variables_in({"": [config, *members]}).intersection(may_read)
        environment = sorted(name for name in read if not name.startswith(PREFIX))
        tables = _filled({"environment": environment or None, "config": config})
        tables["provenance"] = _without_none(document["provenance"], fill=False)
        if members:
            tables["members"] = [_filled(member) for member in members]
        text = tomli_w.dumps(tables)
        text.encode()
    except (RecursionError, UnicodeEncodeError, TypeError, ValueError) as error:
        reason = "too many tables within tables" if isinstance(error, RecursionError) else one_line(error).rstrip(".")
        rule = "must be such that TOML can hold it"
        raise StudyError(f"{where}: {rule}; got: {reason}. Name another one with --trial.") from None
    return text


def _filled(table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a table with a config, in which nothing is None, and the places where something was."""
    return dict(_without_none({**table, "none": list(_none_in(table["config"])) or None}, fill=True))


def _none_in(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[list[str | int]]:
    """Yields the places of a config that are None: TOML has no null, and who reads the file would take a default there."""
    if value is None:
        yield list(place)
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _none_in(item, (*place, key))


def _without_none(value: Any, *, fill: bool) -> Any:
    """Leaves out what has no value: a key, and an item, unless an empty text is to fill its place."""
    if isinstance(value, Mapping):
        return {key: _without_none(item, fill=fill) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return ["" if item is None else _without_none(item, fill=fill) for item in value if fill or item is not None]
    return value
