"""The name and options in `[sampler]` -> an Optuna sampler, made anew for each trial from the study's seed.

A sampler whose random state depends on what happened before in this process could not be resumed. Here the sampler for the
trial of an index is fixed by the study's seed, the index and the trials in the storage, so that a study that was killed and
launched again goes on with what it would have drawn anyway (one worker; with several, given the order told).

``grid`` is no sampler of Optuna's: its points are configs, tried in a seeded order as `[[enqueue]]` entries are. Optuna's own
`GridSampler` gives points to trial numbers, so that a point whose trial failed is lost. ``none`` draws nothing: only what is
enqueued is tried.

A sampler that learns from trials begins with an initial design of ours instead of the random trials of Optuna's; with
``initial_design = false`` it begins as Optuna has it. ``tpe`` may weigh what a config costs too, ``cost = true``, and goes by
the priors of a space.

Any other class is named by its ``target``. It is made anew for each trial too, unless it remembers what it has seen.
"""

import inspect
import itertools
import math
import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler

from search.optuna_internals import WeighingTPESampler
from search.seeds import Stream, derive
from search.study_file import own_class
from search.study_file.acquisition import Acquisition
from search.study_file.conditions import Condition, is_active
from search.study_file.distributions import continuous, values_of
from search.study_file.limits import MAX_GRID
from search.study_file.optimizers import SafeCmaEsSampler
from search.study_file.options import check_options, check_package
from search.study_file.priors import Prior
from search.study_file.rule_errors import rule_error
from search.study_file.targets import is_own
from search.text import show, suggest


@dataclass(frozen=True)
class _Kind:
    """How a sampler is made.

    Attributes:
        defaults: Options that differ from Optuna's defaults.
        package: What it needs beside Optuna, by import name; empty for nothing.
        keeps_seed: All trials share one seed, because they are points of one sequence; what is drawn alone has the trial's own.
        one_direction: It cannot handle several directions.
        models_shared: It models the parameters that all trials have, and draws the others at random.
        learns: From every trial with a value, whoever drew it, once there are `n_startup_trials`. The others draw blindly, or
            build on their own trials alone.
        of_complete: It knows constraints, and learns those that a trial breaks if that is COMPLETE, and not if it is PRUNED.
        weighs: It can go by priors and costs.
        startup_trials: So many it wants after an initial design, where a study file does not say; None for Optuna's default.
        own: A class that the study file names, of which no more is known.
    """

    factory: type[BaseSampler]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""
    keeps_seed: bool = False
    one_direction: bool = False
    models_shared: bool = False
    learns: bool = False
    of_complete: bool = False
    weighs: bool = False
    startup_trials: int | None = None
    own: bool = False


_QUIET: Mapping[str, Any] = {"warn_independent_sampling": False}  # `drawn_alone` says it once instead

_KINDS: Mapping[str, _Kind] = {
    # Multivariate: parameters such as the learning rate and the batch size act together (Falkner et al. 2018, BOHB). Six
    # trials of an initial design tell as much as Optuna's ten random ones.
    "tpe": _Kind(optuna.samplers.TPESampler, {"multivariate": True, "group": True}, learns=True, weighs=True, startup_trials=6),
    "random": _Kind(RandomSampler),
    "grid": _Kind(RandomSampler),
    "qmc": _Kind(optuna.samplers.QMCSampler, {"scramble": True, **_QUIET}, keeps_seed=True, models_shared=True),
    "nsgaii": _Kind(optuna.samplers.NSGAIISampler, models_shared=True, of_complete=True),
    "nsgaiii": _Kind(optuna.samplers.NSGAIIISampler, models_shared=True, of_complete=True),
    "cmaes": _Kind(SafeCmaEsSampler, _QUIET, "cmaes", one_direction=True, models_shared=True),
    "none": _Kind(RandomSampler),
    "gp": _Kind(optuna.samplers.GPSampler, _QUIET, "torch", models_shared=True, learns=True, of_complete=True),
}

_DESIGN, _COST, _KEEP = "initial_design", "cost", "keep"
"""The options that are not a class's own; each is true or false."""

_FEWEST = 6
"""So many trials tell something; of one all that can be learned is to stay with it."""

_IN_GENERATIONS = (optuna.samplers.CmaEsSampler, optuna.samplers.BaseGASampler)
"""Samplers that begin a generation once enough trials of the one before have a value."""

FINITE = ("grid", "none")
"""Samplers that come to an end, and so need whole configs in the queue."""


def check(
    name: str,
    options: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    directions: int,
    conditions: Mapping[str, Condition],
) -> None:
    """Raises the broken rule where `make` or a search could not work with this choice; imports a class of the user's own."""
    if name not in _KINDS and not is_own(name):
        raise rule_error("unknown sampler", got=show(name), remedy=suggest(name, _KINDS), key="name")
    kind = _kind(name)
    ours = _options_of_ours(kind)
    for key in ours & options.keys():
        if not isinstance(options[key], bool):
            raise rule_error("must be true or false", got=show(options[key]), remedy="Change it.", key=key)
    theirs = {key: value for key, value in options.items() if key not in ours}
    if kind.own:
        own_class.check_options(name, kind.factory, theirs)
        return
    check_options(kind.factory, theirs, exclude=("seed",), also=ours)
    if kind.package:
        check_package(name, kind.package)
    if kind.one_direction and directions > 1:
        rule, got = f"{name} needs a single direction", f"{directions} directions"
        raise rule_error(rule, got=got, remedy="Use tpe or nsgaii.", key="name")
    if name == "grid" and (endless := continuous(space)):
        rule, got = "grid needs a list of values for every parameter", f"{endless[0]}, a float without step"
        raise rule_error(rule, got=got, remedy=f"Give space.{endless[0]} a step, or make it categorical.", key="name")
    if name == "grid" and len(_points(space, conditions, MAX_GRID + 1)) > MAX_GRID:
        rule = f"a grid must have at most {MAX_GRID} points"
        raise rule_error(rule, got="more", remedy="Take larger steps, fewer choices, or another sampler.", key="name")
    parts = options.get("dividing_parameter", 3)
    if name == "nsgaiii" and (points := math.comb(directions + parts - 1, parts)) > MAX_GRID:
        rule = f"{directions} directions and dividing_parameter must make at most {MAX_GRID} reference points"
        raise rule_error(rule, got=str(points), remedy="Lower it.", key="dividing_parameter")
    try:
        make(name, options, study_seed=0, trial_index=0)
    except (TypeError, ValueError, FutureWarning) as error:
        raise rule_error(f"{name} does not accept these options", got=str(error), remedy="Change them.") from None


def make(
    name: str, options: Mapping[str, Any], *, study_seed: int, trial_index: int, acquisition: Acquisition | None = None
) -> BaseSampler:
    """Returns the sampler for one trial, whose random state `study_seed` and `trial_index` fix.

    The index counts the trials that are no retries, from zero. By `acquisition` the candidates are weighed, of a sampler that
    can; None is for their values alone.
    """
    kind = _kind(name)
    seed = derive(study_seed, Stream.SAMPLER, trial_index)
    if kind.own:
        return own_class.make(kind.factory, {key: value for key, value in options.items() if key != _KEEP}, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # chosen knowingly, by the study's author or by `defaults`
        warnings.simplefilter("error", FutureWarning)  # a deprecated option: `check` turns it into one line
        arguments = {**_arguments(kind, options), "seed": seed}
        if kind.keeps_seed:
            arguments |= {"seed": derive(study_seed, Stream.SAMPLER, 0), "independent_sampler": RandomSampler(seed)}
        return kind.factory(**arguments) if acquisition is None else WeighingTPESampler(acquisition, **arguments)


def acquisition(
    name: str, options: Mapping[str, Any], priors: Mapping[str, Prior], budget_left: float, *, climbs: bool = False
) -> Acquisition | None:
    """Returns what the next trial's candidates are weighed by; None for their values alone.

    `budget_left` is a part of the study's, in [0, 1]. With `climbs` the study has a fidelity: what costs is a report, not a
    trial, whose length is not the sampler's choice.
    """
    cost_weight = budget_left if weighs_time(name, options) else 0.0
    return Acquisition(priors, cost_weight, per_report=climbs) if priors or cost_weight else None


def weighs(name: str) -> bool:
    """Returns whether this sampler can go by priors and costs."""
    return name in _KINDS and _KINDS[name].weighs


def weighs_time(name: str, options: Mapping[str, Any]) -> bool:
    """Returns whether the study file wants what takes less time to be preferred."""
    return weighs(name) and bool(options.get(_COST, False))


def startup_trials(name: str, options: Mapping[str, Any]) -> int:
    """Returns how many trials an initial design is to give this sampler before it learns from them; 0 for no design."""
    if is_own(name):
        return 0
    kind = _KINDS[name]
    if not kind.learns or not options.get(_DESIGN, True):
        return 0
    return _drawn_at_random(kind, options)


def enough_trials(name: str, options: Mapping[str, Any]) -> float:
    """Returns how many trials on a rung are enough to learn from there: as many as the initial design has, where there is one.

    Else as many as the sampler draws at random itself, 6 at least. No number is for one that goes by generations: all of one
    reach the lowest rung alone. Imports a class of the user's own.
    """
    if startup := startup_trials(name, options):
        return startup
    kind = _kind(name)
    if issubclass(kind.factory, _IN_GENERATIONS):
        return math.inf
    return max(_FEWEST, _drawn_at_random(kind, options))


def fixed(params: Mapping[str, Any]) -> BaseSampler:
    """Returns a sampler that draws these parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of Optuna since 2.4
        return optuna.samplers.PartialFixedSampler(dict(params), RandomSampler())


def _drawn_at_random(kind: _Kind, options: Mapping[str, Any]) -> int:
    """How many trials the sampler draws before it learns, as far as it says so."""
    parameter = inspect.signature(kind.factory).parameters.get("n_startup_trials")
    trials = _arguments(kind, options).get("n_startup_trials", parameter.default if parameter else 0)
    return trials if isinstance(trials, int) else 0


def _arguments(kind: _Kind, options: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {**kind.defaults, **options}
    arguments.pop(_COST, None)
    if arguments.pop(_DESIGN, True) and kind.startup_trials is not None:
        arguments.setdefault("n_startup_trials", kind.startup_trials)
    return arguments


def _options_of_ours(kind: _Kind) -> set[str]:
    return {key for key, there in ((_DESIGN, kind.learns), (_COST, kind.weighs), (_KEEP, kind.own)) if there}


def grid(space: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition], study_seed: int) -> list[dict[str, Any]]:
    """Returns all points of the grid in an order fixed by the seed, so that a budget below their number is a fair sample.

    A point holds the parameters whose condition it meets, and no others; the space has parents before their children.
    """
    points = _points(space, conditions)
    random.Random(derive(study_seed, Stream.GRID)).shuffle(points)
    return points


def _points(
    space: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition], at_most: int | None = None
) -> list[dict[str, Any]]:
    """Returns the points of the grid in the order of its values, the first `at_most` of them."""
    points: list[dict[str, Any]] = [{}]
    for name, distribution in space.items():
        longer = itertools.chain.from_iterable(_extend(point, name, distribution, conditions) for point in points)
        points = list(itertools.islice(longer, at_most))
    return points


def models_shared(name: str) -> bool:
    """Returns whether this sampler models the parameters that all trials have, and no others."""
    return name in _KINDS and _KINDS[name].models_shared


def drawn_alone(name: str, conditions: Mapping[str, Condition]) -> str:
    """Returns which conditional parameters this sampler cannot model, as a sentence; empty where it can."""
    if not conditions or not models_shared(name):
        return ""
    return f"{name} models the parameters that all trials have, and draws the others at random: {', '.join(conditions)}."


def learns(name: str) -> bool:
    """Returns whether this sampler learns from trials that another one drew, such as those of another study.

    One of the user's own may: what its class does with what it sees is not known.
    """
    return is_own(name) or _KINDS[name].learns


def learns_of_complete(name: str) -> bool:
    """Returns whether this sampler learns of a constraint from COMPLETE trials alone."""
    return name in _KINDS and _KINDS[name].of_complete


def keeps(name: str, options: Mapping[str, Any]) -> bool:
    """Returns whether one instance serves the whole launch, because the class remembers what it was told of earlier trials.

    A study file says so by ``keep``. Where it does not, a class does that has an `after_trial` of its own: the hook by which
    Optuna tells a sampler how a trial ended.
    """
    if not is_own(name):
        return False
    home: str = _kind(name).factory.after_trial.__module__
    return bool(options.get(_KEEP, home.partition(".")[0] != "optuna"))


def _kind(name: str) -> _Kind:
    return _Kind(own_class.find_class(name, BaseSampler), own=True) if is_own(name) else _KINDS[name]


def _extend(
    point: dict[str, Any], name: str, distribution: BaseDistribution, conditions: Mapping[str, Condition]
) -> Iterator[dict[str, Any]]:
    if not is_active(name, point, conditions):
        yield point
        return
    for value in values_of(distribution):
        yield {**point, name: value}
