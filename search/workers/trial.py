"""The trial that an objective sees inside a worker.

It has the part of `optuna.Trial` that an objective needs, so that one objective runs under `search` and in
`study.optimize` alike. Parameters were sampled by the driver; `suggest_*` looks them up and checks that the space in the
study file is what the objective expects.
"""

import contextlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from search.records.attributes import OBJECTIVE_KEYS, PREFIX
from search.records.constraints import key_of
from search.text import plain
from search.workers.activity import Interrupted
from search.workers.protocol import Artifact, Constraint, Notice, Report, ReportReply, RunTrial, UserAttr

MAX_ARTIFACT_BYTES = 16 * 2**20
"""The driver holds an artifact in memory, and serves no other worker while it writes it."""

_STEPS = 2**31  # PostgreSQL and MySQL count no further
_LONGEST_KEY = 512  # characters, in Optuna's tables
_DEEPEST = 200  # levels; Python copies no more than some 450, and who reads such a trial fails at the whole study


class WorkerTrial:
    """One trial of the study, seen from its worker.

    `ask` sends a report to the driver and returns its answer, `tell` sends what has none. `progress` says what the trial is at,
    and raises `Interrupted` where it is to end.
    """

    def __init__(
        self,
        task: RunTrial,
        ask: Callable[[Report], ReportReply],
        tell: Callable[[UserAttr | Constraint | Artifact | Notice], None],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.number = task.number
        self._params: dict[str, Any] = dict(task.params)
        # What it has asked for is told of a trial that begins here, and of none that may have asked in an earlier leg.
        self._asked: set[str] | None = None if task.checkpoints is not None and task.checkpoints.exists() else set()
        self.user_attrs: dict[str, Any] = dict(task.user_attrs)
        self.directions = task.directions
        self._checkpoints, self._longest_attr = task.checkpoints, task.longest_attr
        self._ask = ask
        self._tell = tell
        self._progress = progress
        self._reply = ReportReply()
        self._steps: set[int] = set()
        self._constraints, self._set_now = dict(task.constraints), set[str]()

    @property
    def params(self) -> dict[str, Any]:
        """All parameters, by name."""
        return self._asked_for(self._params)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float:
        """Returns the parameter `name`, a number in [low, high].

        Raises:
            ValueError: The study file's space has no such parameter, or holds a value that this range does not.
        """
        value = self._look_up(name, "suggest_float")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f'space.{name}: the objective expects a float; got {value!r}. Write type = "float".')
        self._check_range(name, value, low, high, step)
        return float(value)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Returns the parameter `name`, a whole number in [low, high].

        Raises:
            ValueError: The study file's space has no such parameter, or holds a value that this range does not.
        """
        value = self._look_up(name, "suggest_int")
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f'space.{name}: the objective expects an int; got {value!r}. Write type = "int".')
        self._check_range(name, value, low, high, step)
        return value

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Returns the parameter `name`, one of `choices`.

        Raises:
            ValueError: The study file's space has no such parameter, or holds a value that is not among the choices.
        """
        value = self._look_up(name, "suggest_categorical")
        if value not in choices:
            raise ValueError(f"space.{name}: the objective expects one of {list(choices)!r}; got {value!r}. Change choices.")
        return value

    def report(self, value: float, step: int) -> None:
        """Records an intermediate value, and learns whether this trial is to be pruned.

        Args:
            value: The value of the metric after `step`; NaN is allowed, and pruners prune it. What is infinite is kept as NaN:
                it is as little a value, and would outdo every other.
            step: The zero-based epoch. A second report of one step is ignored with a warning, as Optuna does.

        Raises:
            TypeError: `value` is not a number, or `step` not a whole one.
            ValueError: `step` is negative, or larger than a storage can hold.
            NotImplementedError: The study has several directions; Optuna has no intermediate values there.
        """
        if self.directions > 1:
            raise NotImplementedError("Trial.report is not supported for multi-objective optimization.")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"The `value` argument is of type '{type(value)}' but supposed to be a float.") from None
        try:
            step = int(step)
        except (TypeError, ValueError):
            raise TypeError(f"The `step` argument is of type '{type(step)}' but supposed to be an int.") from None
        if step < 0:
            raise ValueError(f"`step={step}` must be non-negative.")
        if step >= _STEPS:
            raise ValueError(f"report: the step must be below {_STEPS:,}, which storages can hold; got {step}. Count epochs.")
        if step in self._steps:
            warnings.warn(f"The reported value is ignored because `step={step}` is already reported.", stacklevel=2)
            return
        self._steps.add(step)
        self._reply = self._ask(Report(self.number, math.nan if math.isinf(number) else number, step))
        if self._reply.stop:
            raise Interrupted

    def progress(self, text: str) -> None:
        """Says in a few words what this trial is at, for whoever watches; nothing is kept. `optuna.Trial` has no such method.

        Call it as often as you like: a few texts a second are shown. Where the user has pressed ^C, the trial ends here.
        """
        self._progress(text)

    def should_prune(self) -> bool:
        """Returns whether the study's pruner gave this trial up at its last report; False before the first one."""
        if self.directions > 1:
            raise NotImplementedError("Trial.should_prune is not supported for multi-objective optimization.")
        return self._reply.prune

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keeps something with the trial.

        Raises:
            TypeError: JSON cannot hold `value`.
            ValueError: The key is one that the driver sets, or that no storage can hold; or the study's cannot hold the value,
                or it is nested so deeply that nobody could read it again.
        """
        if not _is_text(key) or len(key) > _LONGEST_KEY:
            raise ValueError(
                f"set_user_attr: a key must be a text in UTF-8 of at most {_LONGEST_KEY} characters, without NUL; "
                f"got {plain(key)}. Rename it."
            )
        if key.startswith(PREFIX) and key not in OBJECTIVE_KEYS:
            theirs = " and ".join(OBJECTIVE_KEYS)
            raise ValueError(f"set_user_attr: a key that begins with {PREFIX} must be {theirs}; got {key!r}. Rename it.")
        text, said = _as_json(key, value)
        if self._longest_attr is not None and len(text) > self._longest_attr:
            raise ValueError(
                f"set_user_attr: {key} must have at most {self._longest_attr:,} bytes as JSON, which the storage can hold; "
                f"got {len(text):,}. Keep less, or a file with upload_artifact."
            )
        self.user_attrs[key] = value
        self._tell(UserAttr(self.number, key, said))  # the driver knows no class of the objective's

    @property
    def constraints(self) -> dict[str, float]:
        """The constraints that this trial has set, by name."""
        return dict(self._constraints)

    def set_constraint(self, key: str, value: float) -> None:
        """Says whether the trial keeps a constraint: it does where `value` is zero or less. Who breaks one is not the best.

        Args:
            key: Its name.
            value: By how much it is broken. A second one is ignored with a warning, as Optuna does; a trial that goes on from a
                rung says it anew.

        Raises:
            TypeError: `value` is not a number.
            ValueError: It is NaN; or the key is the driver's, or one that no storage can hold.
        """
        if not _is_text(key) or len(key_of(key)) > _LONGEST_KEY:
            longest = _LONGEST_KEY - len(key_of(""))
            raise ValueError(
                f"set_constraint: a key must be a text in UTF-8 of at most {longest} characters, without NUL; "
                f"got {plain(key)}. Rename it."
            )
        if key.startswith(PREFIX):
            raise ValueError(f"set_constraint: a key must not begin with {PREFIX}; got {key!r}. Rename it.")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"The `value` argument is of type '{type(value)}' but supposed to be a float.") from None
        if math.isnan(number):
            raise ValueError(f"Attempted to set a constraint for {key!r}, but NaN is not allowed.")
        if key in self._set_now:
            warnings.warn(f"The constraint value is ignored because this constraint `{key=}` is already set.", stacklevel=2)
            return
        self._set_now.add(key)
        self._constraints[key] = number
        self._tell(Constraint(self.number, key, number))

    def upload_artifact(self, filename: str, content: bytes) -> None:
        """Keeps a file with the trial; optuna-dashboard shows images on the trial's page. `optuna.Trial` has no such method.

        Args:
            filename: Its name without a folder; the ending tells what it is.
            content: At most `MAX_ARTIFACT_BYTES`.

        Raises:
            TypeError: The content is not of bytes.
            ValueError: The name has a folder or none is left, or is none that a file can have; or the content is too large.
        """
        if not filename or Path(filename).name != filename or not _is_text(filename):
            raise ValueError(f"upload_artifact: the name must be a file's, without a folder; got {plain(filename)!r}.")
        if not isinstance(content, bytes | bytearray):
            raise TypeError(f"upload_artifact: the content of {filename} must be bytes; got {type(content).__name__}.")
        if len(content) > MAX_ARTIFACT_BYTES:
            raise ValueError(
                f"upload_artifact: {filename} must have at most {MAX_ARTIFACT_BYTES:,} bytes; got {len(content):,}. "
                "Write it to a folder of yours, and keep its path with set_user_attr."
            )
        self._tell(Artifact(self.number, filename, content))

    def checkpoint_folder(self) -> Path | None:
        """Returns a folder that this trial finds again when it is tried again after a loss; `optuna.Trial` has no such method.

        It is removed once the trial has ended for good. None where the driver keeps nothing, or the folder cannot be made.
        """
        if self._checkpoints is not None:
            try:
                self._checkpoints.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = f"got {error.strerror or error}. Going on without."
                self._tell(Notice(f"{self._checkpoints.parent}: checkpoints cannot be kept; {reason}"))
                self._checkpoints = None
        return self._checkpoints

    def __getattr__(self, name: str) -> Any:
        has = ", ".join(known for known in dir(self) if not known.startswith("_"))
        raise AttributeError(
            f"a trial of search has no {name!r}; it has {has}. The study is its driver's: callbacks of Optuna-Integration that "
            "read trial.study do not work here; call report and should_prune in a callback of your own.",
            name=name,
            obj=self,
        )

    def _look_up(self, name: str, method: str) -> Any:
        if name not in self._params:
            has = sorted(self._params)
            raise ValueError(
                f"trial.{method}({name!r}): not in [space], or its `when` does not hold; this trial has {has}. "
                "Add it to the study file, or ask for it only when it is there."
            )
        return ask_for(self, name)

    def _asked_for(self, params: dict[str, Any]) -> dict[str, Any]:
        if self._asked is not None:
            self._asked.update(params)
        return params

    @staticmethod
    def _check_range(name: str, value: float, low: float, high: float, step: float | None) -> None:
        if not low <= value <= high:
            raise ValueError(
                f"space.{name}: the objective expects a value in [{low}, {high}]; got {value}. Change its low and high."
            )
        if step is not None and not math.isclose((value - low) / step, round((value - low) / step), abs_tol=1e-8):
            raise ValueError(f"space.{name}: the objective expects {low} plus a multiple of {step}; got {value}.")


def ask_for(trial: WorkerTrial, name: str) -> Any:
    """Returns a parameter whatever its range is, or None where the trial has none of the name; of others it is not asked."""
    return trial._asked_for({name: trial._params[name]})[name] if name in trial._params else None


def never_asked(trial: WorkerTrial) -> tuple[str, ...] | None:
    """Returns the parameters that a trial's objective has not asked for; None where that is not known."""
    return None if trial._asked is None else tuple(name for name in trial._params if name not in trial._asked)


def _is_text(name: object) -> bool:
    """Returns whether storages and file systems can hold a name: it has no NUL and no half of a surrogate pair."""
    return isinstance(name, str) and "\0" not in name and name.encode(errors="ignore").decode() == name


def _as_json(key: str, value: Any) -> tuple[str, Any]:
    """Returns the value of an attribute as JSON, and what that says; raises a ValueError where it is nested too deeply."""
    with contextlib.suppress(RecursionError):
        text = json.dumps(value)
        said = json.loads(text)
        if not _is_deeper(said):
            return text, said
    raise ValueError(
        f"set_user_attr: {key}: lists and dictionaries may be nested {_DEEPEST} deep; got deeper ones. Flatten them, or keep a "
        "file with upload_artifact."
    )


def _is_deeper(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST + 1):
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in inside for item in items]
    return bool(level)
