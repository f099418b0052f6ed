"""The best configs of a study once more, each with several seeds, as a study of its own beside the first.

A search takes the maximum of many noisy values, so that its best one holds luck. The linked study, ``NAME-finalists``, runs
the best configs and the baseline through the same driver, without pruning. All get the same new seeds, so that they can be
compared in pairs.
"""

import dataclasses
import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from search.driver.compatibility import check_same
from search.driver.launch import Launched, launch
from search.driver.ownership import claimed
from search.errors import StudyError
from search.optuna_internals import storage_of
from search.records.attributes import FINALIST_KEY, FINALISTS_OF_KEY, SEED_KEY, finalist_of, given_of, is_result, seed_of
from search.results.finalist_ranking import Ranking, rank_finalists
from search.results.ranking import describe_results_missing, find_baseline, metrics_of, rank
from search.seeds import Stream, derive
from search.storage import errors
from search.storage.open import as_of_now, close, create_study, snapshot, token_of
from search.storage.place import open_launched
from search.study_file.arguments import whole
from search.study_file.fidelity import Fidelity
from search.study_file.load import StudySpec
from search.study_file.tables import Choice
from search.text import print_line

_SUFFIX = "-finalists"
_PENDING = (TrialState.WAITING, TrialState.RUNNING)
_COUNTED = (*_PENDING, TrialState.COMPLETE, TrialState.PRUNED)


def run_finalists(
    spec: StudySpec, *, top: int, seeds: int, workers: int = 1, url: str | None = None, quiet: bool = False
) -> tuple[Launched, Ranking]:
    """Runs what is missing of the finalists of a study: the `top` best configs, each with so many `seeds`.

    A `url` takes the place of the file's storage. Returns how the launch went, and the ranking so far.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    top, seeds = whole(top, "run_finalists: top"), whole(seeds, "run_finalists: seeds", 2)
    workers = whole(workers, "run_finalists: workers")
    opened, url = open_launched(spec, url)
    with errors.storage_errors(url):
        check_same(opened, spec, save=False)
        source, token = snapshot(opened), token_of(opened)
    close(opened)
    chosen = choose(source, top)
    linked = create_study(url, spec.name + _SUFFIX, spec.directions, spec.metrics)
    with errors.storage_errors(url), claimed(linked):
        if not _is_of(linked, source, token):
            raise StudyError(
                f'study "{linked.study_name}": must hold finalists of study "{spec.name}"; got those of one that had its name '
                "before. Delete it (optuna delete-study), and run search finalists again."
            )
        linked.set_user_attr(FINALISTS_OF_KEY, token)
        _enqueue_missing(linked, chosen, [derive(spec.seed, Stream.FINALIST, index) for index in range(seeds)], spec.fidelity)
        budget = len(linked.get_trials(deepcopy=False, states=_COUNTED))
        if not quiet and linked.get_trials(deepcopy=False, states=_PENDING):
            print_line(Console(), describe_numbers(linked, source.study_name))
    close(linked)
    again = dataclasses.replace(
        spec,
        name=spec.name + _SUFFIX,
        policy=dataclasses.replace(
            spec.policy, trials=budget, timeout_s=None, max_reports=None, max_device_time_s=None, patience=None
        ),
        sampler=Choice("none", {}),
        pruner=Choice("none", {}),
        enqueue=(),
        fidelity=None,
    )
    launched = launch(again, workers=workers, url=url, quiet=quiet, measured_as=source)
    with errors.storage_errors(url):
        return launched, rank_finalists(source, launched.study)


def load_ranking(source: optuna.Study) -> Ranking | None:
    """Returns the ranking of a study's finalists; None where there are none yet, or some are still to be run."""
    name = source.study_name + _SUFFIX
    if name not in optuna.get_all_study_names(storage_of(source)):
        return None
    linked = as_of_now(optuna.load_study(study_name=name, storage=storage_of(source)))
    if (
        len(source.directions) > 1
        or not _is_of(linked, source, token_of(source))
        or linked.get_trials(deepcopy=False, states=_PENDING)
    ):
        return None
    return rank_finalists(source, linked)


def _is_of(linked: optuna.Study, source: optuna.Study, token: str | None) -> bool:
    """Returns whether the finalists are of this study, and not of one that had its name before.

    The token of the study tells. Where they were run without one, by an earlier version or of a study of plain Optuna, they are
    this study's if each has the parameters of the trial that it runs again.
    """
    before = linked.user_attrs.get(FINALISTS_OF_KEY)
    if before is not None:
        return bool(before == token)
    trials = source.get_trials(deepcopy=False)
    for again in linked.get_trials(deepcopy=False):
        number, params = finalist_of(again), {**given_of(again), **again.params}
        if number is None or number >= len(trials) or any(trials[number].params.get(key) != params[key] for key in params):
            return False
    return True


def choose(source: optuna.Study, top: int) -> list[FrozenTrial]:
    """Returns the trials whose configs are run again: the best `top` different ones, and the baseline.

    Raises:
        StudyError: The study has several directions, or no COMPLETE trial.
    """
    metrics = metrics_of(source)
    where = f'study "{source.study_name}"'
    if len(metrics) > 1:
        raise StudyError(
            f"{where}: finalists need a single direction; got {len(metrics)}. Choose from the front: search report."
        )
    ranked = rank(source.get_trials(deepcopy=False), metrics)
    if not ranked:
        got = describe_results_missing(source.get_trials(deepcopy=False))
        raise StudyError(f"{where}: must have a COMPLETE trial; got {got}. Run search launch until one is.")
    different: dict[str, FrozenTrial] = {}
    for trial in ranked:
        different.setdefault(_identity(trial.params), trial)
    chosen = dict(islice(different.items(), top))
    baseline = find_baseline(source)
    if baseline is not None and baseline.params:
        chosen.setdefault(_identity(baseline.params), baseline)
    return list(chosen.values())


def _enqueue_missing(
    linked: optuna.Study, chosen: list[FrozenTrial], seeds: list[int], fidelity: Fidelity | None = None
) -> None:
    """Enqueues the pairs of config and seed that are missing, all configs with one seed before the next seed."""
    alive = [trial for trial in linked.get_trials(deepcopy=False) if trial.state is not TrialState.FAIL]
    present = {(finalist_of(trial), seed_of(trial)) for trial in alive}
    for seed in seeds:
        for trial in chosen:
            if (trial.number, seed) not in present:
                linked.enqueue_trial(_config(trial, fidelity), user_attrs={FINALIST_KEY: trial.number, SEED_KEY: seed})


def describe_numbers(linked: optuna.Study, source: str) -> str:
    """Returns which trial of the search each trial trains again: it has one number while it runs, the other in the ranking."""
    by_finalist: dict[int, list[int]] = {}
    for trial in linked.get_trials(deepcopy=False):
        if (number := finalist_of(trial)) is not None:
            by_finalist.setdefault(number, []).append(trial.number)
    numbers = [", ".join(_shortened([str(number) for number in again], 3, "...")) for again in by_finalist.values()]
    (first, of_first), *others = zip(by_finalist, numbers, strict=True)
    parts = [f"{of_first} train trial {first} of {source} again", *(f"{again} its trial {number}" for number, again in others)]
    return f"Trials of {linked.study_name} are numbered anew: {'; '.join(_shortened(parts, 6, 'and so on'))}."


def _shortened(parts: list[str], most: int, rest: str) -> list[str]:
    return parts if len(parts) <= most else [*parts[: most - 1], rest]


def _config(trial: FrozenTrial, fidelity: Fidelity | None) -> dict[str, Any]:
    """Returns what a finalist is trained with: a baseline that is no result, as it is paused for instance, goes all the way."""
    if fidelity is None or is_result(trial):
        return trial.params
    return {**trial.params, fidelity.name: given_of(trial).get(fidelity.name, fidelity.rungs[-1])}


def _identity(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
