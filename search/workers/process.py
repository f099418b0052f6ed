"""The child: builds the objective once, then runs trials until it is told to stop.

Nothing heavy is imported up here, so that a worker that only waits costs little; what its environment says (threads, device,
log level) was set before the process began.
"""

import builtins
import contextlib
import faulthandler
import importlib
import inspect
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import parent_process, set_start_method
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.errors import ObjectiveError
from search.study_file.env import AsWritten
from search.study_file.targets import find_beside, import_object
from search.text import one_line, suggest
from search.workers import hooks
from search.workers.activity import Activities, Interrupted
from search.workers.log import cut_log, print_to
from search.workers.memory import is_device_failure, is_out_of_memory, memory_in_use
from search.workers.protocol import (
    Activity,
    Artifact,
    Changed,
    Constraint,
    Explain,
    Misfits,
    Notice,
    Outcome,
    Ready,
    Report,
    ReportReply,
    RunTrial,
    StartFailed,
    Stop,
    UserAttr,
)
from search.workers.signals import leave_to_the_driver
from search.workers.trial import WorkerTrial, never_asked

TRACE_SIGNAL = signal.SIGUSR1
"""Makes a worker write the stack of its threads to its log."""


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker needs to start.

    Attributes:
        target: The objective, as ``module:attribute``.
        settings: The objective's own settings, passed on as keyword arguments.
        log: The file that takes what the worker prints; None leaves stdout and stderr as they are.
        environ: Variables that the process is started with.
        space: The tables of the study file's ``[space]``, and `enqueue` those of its ``[[enqueue]]``.
        as_written: Puts the file's words back in the place of what its settings expand to, in all that is stored and shown.
        fidelity: The parameter by which the study pauses trials; None where it does not.
        directions: Of the study, which an objective may want to be others.
    """

    target: str
    settings: Mapping[str, Any]
    log: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    as_written: AsWritten = field(default_factory=AsWritten)
    space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    enqueue: Sequence[Mapping[str, Any]] = ()
    fidelity: str | None = None
    directions: Sequence[str] = ()


def main(connection: Connection, setup: WorkerSetup) -> None:
    """The whole life of a worker process."""
    leave_to_the_driver()
    set_start_method(None, force=True)  # the objective's own processes start as in a program of its own, not as this one did
    failure = _leave_with_the_parent()
    if setup.log is not None and (notice := print_to(setup.log)):
        with contextlib.suppress(OSError):  # the driver has hung up
            connection.send(Notice(notice))
    if failure:
        print(failure, file=sys.stderr)
        with contextlib.suppress(OSError):
            connection.send(StartFailed(f"a worker must start; got: {failure}. Start fewer, or raise the limits (ulimit -a)"))
        return
    faulthandler.register(TRACE_SIGNAL)  # a worker that hangs is made to say where, before it is killed
    find_beside()
    serve(connection, setup)


def serve(connection: Connection, setup: WorkerSetup) -> None:
    """Builds the objective and runs trials until the driver says `Stop` or hangs up."""
    with contextlib.suppress(BrokenPipeError):  # it has hung up, and nobody hears what is left to say
        _serve(connection, setup)


def _serve(connection: Connection, setup: WorkerSetup) -> None:
    hide = setup.as_written.text
    activities = Activities(lambda text: connection.send(Activity(hide(text))), lambda: _is_told_to_end(connection))
    try:
        kind = import_object(setup.target, "study.objective")
        if misfits := hooks.take_misfits(kind, setup.space, setup.enqueue, setup.settings, setup.directions):
            connection.send(Misfits(tuple(map(hide, misfits))))
            return
        if callable(listen := getattr(kind, "on_activity", None)):
            listen(activities)
        objective = build_objective(setup.target, setup.settings)
        defaults = hooks.take_defaults(kind, setup.settings, setup.space)
        if setup.fidelity is not None:
            hooks.check_fidelity(objective, setup.fidelity)
        fingerprint = {hide(name): hide(text) for name, text in hooks.take_fingerprint(objective).items()}
        reports = hooks.take_reports(objective)
    except Interrupted:
        return
    except Exception as error:
        print(hide(traceback.format_exc()), file=sys.stderr)
        connection.send(StartFailed(f"objective {setup.target} could not start: {hide(describe(error))}"))
        return
    for note in (notes := hooks.take_notes(objective)):
        print(note)
    importlib.import_module("optuna")  # a trial needs it, and the first would be silent, and take longer, until it is there
    connection.send(Ready(fingerprint, notes, reports, defaults))
    while isinstance(task := _next_task(connection), RunTrial):
        outcome = run_trial(objective, task, connection, setup.as_written, activities)
        if notice := cut_log(setup.log):
            connection.send(Notice(notice))
        connection.send(replace(outcome, memory=memory_in_use()))
    if isinstance(task, Explain):
        connection.send(Changed(hide(hooks.describe_change(objective, task.before, fingerprint))))
    if isinstance(task, Stop) and task.reason:
        print(f"leaving: {task.reason}")


def build_objective(target: str, settings: Mapping[str, Any]) -> Callable[[WorkerTrial], Any]:
    """Returns what runs one trial.

    A class is called with the settings as keywords, and its instance then once for each trial; anything else is called as
    ``objective(trial, **settings)``.

    Raises:
        ObjectiveError: There is no such module or attribute, or it does not take these settings.
    """
    result = import_object(target, "study.objective")
    if not callable(result):
        raise ObjectiveError(f"{target} must be a class or a function; got {type(result).__name__}")
    if is_python_own(result):
        raise ObjectiveError(
            f"{target} must be an objective of yours or of a package; got {_full_name(result)}, of Python's own"
        )
    arguments = () if inspect.isclass(result) else (None,)
    _check_settings(result, arguments, settings)
    if not inspect.isclass(result):
        return lambda trial: result(trial, **settings)
    objective = result(**settings)
    if not callable(objective):
        raise ObjectiveError(f"{target} must define __call__(self, trial)")
    return objective


def is_python_own(result: Any) -> bool:
    """Returns whether a class or a function comes with Python: ``os.system``, reached through a module that imports `os`."""
    if not (inspect.isclass(result) or inspect.isroutine(result)):
        return False
    return _full_name(result).partition(".")[0] in sys.stdlib_module_names


def _full_name(result: Any) -> str:
    module = getattr(result, "__module__", None) or getattr(type(getattr(result, "__self__", None)), "__module__", "builtins")
    return f"{module}.{getattr(result, '__qualname__', type(result).__qualname__)}"


def run_trial(
    objective: Callable[[WorkerTrial], Any],
    task: RunTrial,
    connection: Connection,
    as_written: AsWritten,
    activities: Callable[[str], None],
) -> Outcome:
    """Runs one trial; whatever the objective does short of killing the process becomes an `Outcome`."""
    from optuna import TrialPruned

    ended = threading.Event()  # a thread that the objective has left may know its trial still

    def ask(report: Report) -> ReportReply:
        if ended.is_set():
            raise Interrupted
        connection.send(report)
        if not task.answered and not connection.poll():
            return ReportReply()
        # Anything else means that the driver is gone or going: stop rather than train on for nobody.
        return reply if isinstance(reply := _receive(connection), ReportReply) else ReportReply(stop=True)

    def tell(message: UserAttr | Constraint | Artifact | Notice) -> None:
        if ended.is_set():
            raise Interrupted
        if isinstance(message, UserAttr):
            message = replace(message, value=as_written.value(message.value, task.params))
        if isinstance(message, Artifact):
            message = replace(message, content=as_written.file(message.filename, message.content))
        connection.send(message)

    try:
        trial = WorkerTrial(task, ask, tell, activities)
        values = as_values(objective(trial), task.directions)
    except TrialPruned:
        return Outcome(task.number, "pruned")
    except Interrupted:
        return Outcome(task.number, "interrupted")
    except _BadResult as error:
        return Outcome(task.number, "failed", reason=as_written.text(str(error)))
    except (Exception, SystemExit) as error:  # a trial may raise anything, and the next trial may still be fine
        reason, trace = as_written.text(describe(error, always_type=True)), as_written.text(traceback.format_exc())
        print(trace, file=sys.stderr)
        return Outcome(task.number, "failed", (), reason, trace, is_out_of_memory(error), is_device_failure(error))
    finally:
        ended.set()
    return Outcome(task.number, "complete", values, never_asked=never_asked(trial))


class _BadResult(Exception):
    """The objective returned what is no result; the message is the reason."""


def as_values(result: Any, directions: int) -> tuple[float, ...]:
    """Returns what an objective returned as one float for each direction.

    Raises:
        _BadResult: It is None, NaN, infinite, no number, or of the wrong length.
    """
    wanted = "one number" if directions == 1 else f"{directions} numbers, one for each direction"
    several = isinstance(result, Sequence) and not isinstance(result, str)
    items = list(result) if several else [result]
    if len(items) != directions or any(isinstance(item, str) for item in items):  # float("1") would pass
        raise _BadResult(f"the objective must return {wanted}; got {one_line(repr(result))}")
    try:
        values = tuple(float(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        raise _BadResult(f"the objective must return {wanted}; got {one_line(repr(result))}") from None
    for lost, why in ((math.isnan, "not a number"), (math.isinf, "infinite")):
        if any(map(lost, values)):
            raise _BadResult(f"the objective must return {wanted}; got {one_line(repr(result))} ({why})")
    return values


def describe(error: BaseException, *, always_type: bool = False) -> str:
    """Returns an exception as one line.

    A class of Python's own is named, since its message alone says little (``KeyError: 'x'``); a package's own class is not,
    since its message was written to be read.
    """
    message, name = one_line(error), type(error).__name__
    if not message:
        return name
    return f"{name}: {message}" if always_type or hasattr(builtins, name) else message


def _check_settings(result: Callable[..., Any], arguments: tuple[Any, ...], settings: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(result)
    except (TypeError, ValueError):  # some callables of C have none; calling them will tell
        return
    names = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key in settings:
        if not takes_any and key not in names[len(arguments) :]:
            raise ObjectiveError(f"[objective] has the unknown setting {key}. {suggest(key, names[len(arguments) :])}")
    try:
        signature.bind(*arguments, **settings)
    except TypeError as error:
        raise ObjectiveError(f"[objective] does not fit: {error}") from None


def _next_task(connection: Connection) -> Any:
    """Returns the next message; one that would have stopped a trial which has ended since is void."""
    while isinstance(message := _receive(connection), ReportReply):
        pass
    return message


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):  # the driver hung up
        return Stop()


def _is_told_to_end(connection: Connection) -> bool:
    """Whether the driver has said, unasked, that what this worker is at is to end."""
    if not connection.poll():
        return False
    message = _receive(connection)
    return isinstance(message, Stop) or (isinstance(message, ReportReply) and message.stop)


def _leave_with_the_parent() -> str:
    """Ends this process as soon as the driver is gone, even in the middle of a training step; else says why not."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    try:
        threading.Thread(target=watch, name="watch-driver", daemon=True).start()
    except RuntimeError as error:  # the system has no room for a thread
        return str(error)
    return ""
