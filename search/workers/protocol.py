"""What driver and worker say to each other.

    driver -> worker    RunTrial, ReportReply, Explain, Stop
    worker -> driver    Ready | StartFailed | Misfits; then for each trial any number of Report, UserAttr, Constraint and
                        Artifact, and one Outcome; Changed, once it was told to explain; an Activity or a Notice at any time

A worker answers `RunTrial` with exactly one `Outcome` unless it dies; `Died` is what an executor says in its place.
Where a pruner looks at reports, each is answered by one `ReportReply`, for which the worker waits; otherwise it waits for
nobody. A `ReportReply` that says stop comes unasked, at any time, and at most once in a trial.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class RunTrial:
    """Run the objective on these parameters.

    Attributes:
        answered: Whether each report will be answered.
        checkpoints: A folder for what the objective needs to go on where an earlier try of this trial was lost, or has paused.
        longest_attr: How many bytes of JSON the storage keeps of a user attribute; None where that has no end.
        constraints: Those that it has set before, on its way up to the rung where it goes on.
    """

    number: int
    params: Mapping[str, Any]
    user_attrs: Mapping[str, Any]
    directions: int = 1
    answered: bool = True
    checkpoints: Path | None = None
    longest_attr: int | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportReply:
    """What to do after a report: go on, prune, or stop because the driver ends."""

    prune: bool = False
    stop: bool = False


@dataclass(frozen=True)
class Stop:
    """No more trials: leave. The worker's log tells `reason`, if there is one."""

    reason: str = ""


@dataclass(frozen=True)
class Ready:
    """The objective is built; trials are welcome.

    Attributes:
        fingerprint: What its values depend on besides its settings: names of things, and a hash of each one's content.
        notes: What whoever launches should know of what the objective found, a line each.
        reports: By ``run`` and ``epoch``: the settings and parameters that say how many a trial reports; empty if unknown.
        defaults: What it takes for a parameter that a trial does not have; None if unknown.
    """

    fingerprint: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Explain:
    """The study was begun with another fingerprint, `before`: say what has changed, and leave."""

    before: Mapping[str, str]


@dataclass(frozen=True)
class Changed:
    """What the objective depends on is not what the study was begun with; `what` says in one line how it differs."""

    what: str


@dataclass(frozen=True)
class StartFailed:
    """The objective cannot be built; `reason` is one line."""

    reason: str


@dataclass(frozen=True)
class Misfits:
    """The objective cannot run what the study file asks for; a line for each thing."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """An intermediate value."""

    number: int
    value: float
    step: int


@dataclass(frozen=True)
class UserAttr:
    """Something the objective wants to be kept with the trial; JSON can hold `value`."""

    number: int
    key: str
    value: Any


@dataclass(frozen=True)
class Constraint:
    """Something that the trial should keep to, by a name: `value` is above zero where it does not."""

    number: int
    name: str
    value: float


@dataclass(frozen=True)
class Artifact:
    """A file that the objective wants to be kept with the trial; `filename` has no folder."""

    number: int
    filename: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Notice:
    """Something that a person should know, in one line: the worker goes on without what could not be had."""

    text: str


@dataclass(frozen=True)
class Activity:
    """What a worker is at, in a few words; never stored, and empty once it is over. Sent a few times a second at most."""

    text: str


@dataclass(frozen=True)
class Outcome:
    """How a trial ended in its worker; what becomes of it is for the driver to say.

    Attributes:
        number: The trial.
        state: `interrupted` where the driver asked the trial to stop.
        values: One for each direction; empty unless complete.
        reason: Why it failed, in one line; empty unless failed.
        traceback: Where it failed; empty where there is none.
        out_of_memory: It failed because memory ran out, the host's or a device's.
        device_failed: It failed because its device did, which the worker's process may never use again.
        memory: Bytes that the worker's process has in use after the trial; 0 where that is not known.
        never_asked: Parameters that the trial has and its objective never asked for; None where that is not known.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "interrupted"]
    values: tuple[float, ...] = ()
    reason: str = ""
    traceback: str = field(default="", repr=False)
    out_of_memory: bool = False
    device_failed: bool = False
    memory: int = field(default=0, compare=False)
    never_asked: tuple[str, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Died:
    """The worker is gone.

    Attributes:
        reason: Names the signal or the exit code.
        out_of_memory: The kernel killed it for want of memory.
        node_lost: It went with its node, so that what it ran cannot be to blame.
    """

    reason: str
    out_of_memory: bool = False
    node_lost: bool = False


ToWorker = RunTrial | ReportReply | Explain | Stop
FromWorker = (
    Ready | StartFailed | Misfits | Changed | Report | UserAttr | Constraint | Artifact | Activity | Notice | Outcome | Died
)
