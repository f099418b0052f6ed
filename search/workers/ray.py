"""Workers on the nodes of a Ray cluster: Ray finds each of them a place, now or when a node joins."""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from search.errors import WorkerError
from search.study_file.policy import RayResources
from search.text import one_line
from search.workers.process import WorkerSetup
from search.workers.protocol import Died, FromWorker, Ready, Stop, ToWorker
from search.workers.ray_actor import Host

_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_LEAVE = 5.0
_SECONDS_TO_KILL = 2.0
_HEAR, _SAY = "hear", "say"  # one thread each: a host listens while it is told something, and hears things in their order


@dataclass(frozen=True)
class _Hosted:
    """A worker that was started: its host, the call that returns what it says next, and whether it has built its objective."""

    actor: Any
    hearing: Any
    ready: bool = False


class RayExecutor:
    """Runs each worker below an actor, which is spoken to by calls.

    A worker for which there is no place is `starting` until there is one. `setup` returns what the worker of a number needs to
    start, and each takes `resources`.
    """

    def __init__(self, setup: Callable[[int], WorkerSetup], resources: RayResources) -> None:
        import ray

        self._ray = ray
        self._setup = setup
        groups = {_HEAR: 1, _SAY: 1}
        self._actor_class = ray.remote(concurrency_groups=groups)(Host).options(
            num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_restarts=0
        )
        self._hosted: dict[int, _Hosted] = {}

    def start(self, worker: int) -> None:
        """Asks for a place for a worker, which starts as soon as it has one."""
        actor = self._actor_class.remote(self._setup(worker), os.getcwd())
        self._hosted[worker] = _Hosted(actor, self._listen(actor))

    def has_place(self, worker: int) -> bool:
        """Returns True: Ray does not tell whether a process lives on though it was killed."""
        return True

    def send(self, worker: int, message: ToWorker) -> None:
        """Sends a message, and waits for nothing."""
        if (hosted := self._hosted.get(worker)) is not None:
            hosted.actor.say.options(concurrency_group=_SAY).remote(message)

    def receive(self, timeout_s: float) -> list[tuple[int, FromWorker]]:
        """Waits for the calls that listen."""
        by_call = {hosted.hearing: worker for worker, hosted in self._hosted.items()}
        if not by_call:
            time.sleep(timeout_s)
            return []
        ready, others = self._ray.wait(list(by_call), timeout=timeout_s)
        if ready and others:
            ready += self._ray.wait(others, num_returns=len(others), timeout=0)[0]
        return [(by_call[call], message) for call in ready for message in self._heard(by_call[call])]

    def kill(self, worker: int) -> None:
        """Ends a worker that hangs, and its host."""
        actor = self._hosted.pop(worker).actor
        self._ray.wait([actor.kill.options(concurrency_group=_SAY).remote()], timeout=_SECONDS_TO_KILL)
        self._ray.kill(actor)

    def stop(self, *, at_once: bool = False) -> None:
        """Ends all workers; one that does not leave within a few seconds is killed, and so are those without a place."""
        deadline = time.monotonic() + (0.0 if at_once else _SECONDS_TO_LEAVE)
        for worker in self._hosted:
            self.send(worker, Stop())
        while self._hosted and (left := deadline - time.monotonic()) > 0:
            self.receive(left)
        while self._hosted:
            self._ray.kill(self._hosted.popitem()[1].actor)

    def _listen(self, actor: Any) -> Any:
        return actor.hear.options(concurrency_group=_HEAR).remote()

    def _heard(self, worker: int) -> list[FromWorker]:
        hosted = self._hosted[worker]
        try:
            messages: list[FromWorker] = self._ray.get(hosted.hearing)
        except self._ray.exceptions.RayError as error:
            return self._reap(worker, error)
        if any(isinstance(message, Died) for message in messages):
            self._ray.kill(self._hosted.pop(worker).actor)
        else:
            ready = hosted.ready or any(isinstance(message, Ready) for message in messages)
            self._hosted[worker] = replace(hosted, hearing=self._listen(hosted.actor), ready=ready)
        return messages

    def _reap(self, worker: int, error: Exception) -> list[FromWorker]:
        """Ends a host that is gone or cannot be reached: what it says from now on would be too late."""
        hosted = self._hosted.pop(worker)
        self._ray.kill(hosted.actor)
        node_lost = isinstance(error, self._ray.exceptions.ActorUnavailableError) or "its node has died" in str(error)
        if node_lost and not hosted.ready:
            self.start(worker)
            return []
        return [Died("the worker's node was lost" if node_lost else _cause(str(error)), node_lost=node_lost)]


def _cause(text: str) -> str:
    """Returns the last thing that Ray says of an actor's end, without its list of what may be behind it."""
    lines = [line for line in text.splitlines() if line.strip()]
    return f"the worker's host on Ray ended: {one_line(lines[-1]).partition(' Some common causes')[0]}"


@contextlib.contextmanager
def connected(resources: RayResources, where: str) -> Iterator[None]:
    """Makes this process a driver of the cluster; at the end, all that Ray runs for it ends. Errors name the file, `where`.

    Raises:
        WorkerError: Ray is not installed or does not answer, or none of its nodes could hold a worker.
    """
    # Whoever sets CUDA_VISIBLE_DEVICES where no GPU was asked for: we do. Without this, Ray warns of it in each process.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise WorkerError(
            f'{where}: study.executor: kind = "ray" needs the package ray, which is not installed; got none. '
            "Run: pip install 'tumorcls[ray]'."
        ) from None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _ping(resources.address)
        ray.init(address=resources.address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f'{where}: study.executor.address: must be a Ray cluster with this machine in it; got "{resources.address}": '
            f"{one_line(error).rstrip('.')}. Run `ray start --head`, or `ray start --address HOST:PORT` to join one."
        ) from None
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has set its own
        # What Ray's processes have to say of a lost node fills a screen, and no option keeps it out of our output.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        _check_room(resources, where, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        yield
    finally:
        ray.shutdown()


def _ping(address: str) -> None:
    """Raises an `OSError` where nobody listens at an address: Ray would try for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()


def _check_room(resources: RayResources, where: str, nodes: list[dict[str, float]]) -> None:
    if not any(n.get("CPU", 0) >= resources.cpus_per_trial and n.get("GPU", 0) >= resources.gpus_per_trial for n in nodes):
        largest = ", ".join(sorted({f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes}))
        raise WorkerError(
            f"{where}: study.executor: a node must have {resources.cpus_per_trial:g} CPUs (cpus_per_trial) and "
            f"{resources.gpus_per_trial:g} GPUs (gpus_per_trial); got nodes of {largest}. Lower them, or start such a node."
        )
