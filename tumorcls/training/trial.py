"""What the objective needs of a trial: that of Optuna has it, and those of `search` have more."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable


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
