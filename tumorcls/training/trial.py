"""What the objective needs of a trial: that of Optuna has it, and those of `search` have more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.study import StudyDirection

from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import ConfigError


class Trial(Protocol):
    """The part of `optuna.Trial` that the objective uses; `search` and Optuna both give one."""

    @property
    def number(self) -> int: ...

    @property
    def params(self) -> dict[str, Any]: ...

    @property
    def user_attrs(self) -> dict[str, Any]: ...

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...

    def set_user_attr(self, key: str, value: Any) -> None: ...


@runtime_checkable
class KeepsArtifacts(Protocol):
    """A trial that has a place for files, as one of `search` has and one of plain Optuna has not."""

    def upload_artifact(self, filename: str, content: bytes) -> None: ...


@runtime_checkable
class KeepsCheckpoints(Protocol):
    """A trial that may be tried again or taken up again, as one of `search` may."""

    def checkpoint_folder(self) -> Path | None: ...


@runtime_checkable
class KnowsDirections(Protocol):
    """A trial of `search`, which has no study but knows of its directions."""

    directions: int


def check_directions(trial: Trial, config: TrainConfig) -> None:
    """Tells before the training what Optuna would tell after it, or not at all; a trial that does not know its study passes.

    Raises:
        ConfigError: There are more or fewer scores than the study has directions, or it minimizes one: Optuna's own default.
    """
    if isinstance(trial, optuna.Trial) and any(each is not StudyDirection.MAXIMIZE for each in trial.study.directions):
        got = ", ".join(each.name.lower() for each in trial.study.directions)
        raise ConfigError(
            f"the study must maximize, since scores are the better the higher they are; got {got}. "
            'Write optuna.create_study(direction="maximize").'
        )
    wanted = len(config.score)
    if isinstance(trial, optuna.Trial):
        wanted = len(trial.study.directions)
    elif isinstance(trial, KnowsDirections):
        wanted = trial.directions
    if wanted != len(config.score):
        raise ConfigError(
            f"[objective]: score: must name one score for each of the study's {wanted} directions; "
            f"got {', '.join(config.score)}. Change score, or directions in [study]."
        )


def report(trial: Trial, config: TrainConfig, scores: Mapping[str, float], step: int, *, steps: int) -> None:
    """Reports a trial's first score, unless it has several: Optuna keeps no intermediate values then, and prunes nothing.

    Raises:
        optuna.TrialPruned: The pruner gave the trial up, and this was not its last step.
    """
    if len(config.score) > 1:
        return
    trial.report(scores[config.score[0]], step=step)
    if step < steps - 1 and trial.should_prune():
        raise optuna.TrialPruned
