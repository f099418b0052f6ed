"""What does a trial cost on Ray? Messages, bytes and delay of a report, next to a local worker.

    unshare --net sh -c 'ip link set lo up; python -m benchmarks.ray_messages' | tee benchmarks/results/ray_messages.txt

A cluster of one node is started here, so that all that Ray says goes through the loopback device, which in a network namespace
of its own carries nothing else. One worker runs trials that return at once, each with ten reports that are answered. Printed:

1. The delay of a report in the worker, from `trial.report` to its return, when the driver answers at once and writes nothing.
2. Messages a trial, their size when pickled, and the bytes that the loopback device sent, less what the idle cluster sends.
3. The memory that the worker's host takes beside the worker, which shares nothing with it (USS).
"""

import argparse
import os
import pickle
import platform
import tempfile
import time
from importlib import metadata
from statistics import median, quantiles

import optuna
import psutil
from ray.cluster_utils import Cluster

from search.study_file.policy import RayResources
from search.workers.executor import Executor
from search.workers.local import LocalExecutor
from search.workers.process import WorkerSetup
from search.workers.protocol import FromWorker, Outcome, Ready, Report, ReportReply, RunTrial, ToWorker, UserAttr
from search.workers.ray import RayExecutor, connected

_TRIALS, _REPORTS, _IDLE_S = 200, 10, 20.0
_PARAMS = {"epochs": 12, "learning_rate": 1e-3, "dropout": 0.3, "batch_size": 32, "noise_intensity": 0.25}


def reports(trial: optuna.Trial) -> float:
    delays = []
    for step in range(_REPORTS):
        began = time.perf_counter()
        trial.report(0.5, step)
        delays.append(time.perf_counter() - began)
    trial.set_user_attr("delays", delays)
    return 0.5


def set_up(worker: int) -> WorkerSetup:
    return WorkerSetup("benchmarks.ray_messages:reports", {})


def begin(executor: Executor) -> None:
    executor.start(0)
    while (0, Ready()) not in executor.receive(1.0):
        pass


def run(executor: Executor) -> tuple[list[float], list[ToWorker | FromWorker]]:
    """Returns the delays of all reports, and all messages but the lists of delays."""
    delays: list[float] = []
    passed: list[ToWorker | FromWorker] = []

    def send(message: ToWorker) -> None:
        passed.append(message)
        executor.send(0, message)

    for number in range(_TRIALS):
        send(RunTrial(number, _PARAMS, {"seed": number}))
        while True:
            said = [message for _, message in executor.receive(1.0)]
            for message in said:
                if isinstance(message, UserAttr):
                    delays += message.value
                    continue
                passed.append(message)
                if isinstance(message, Report):
                    send(ReportReply())
            if any(isinstance(message, Outcome) for message in said):
                break
    return delays, passed


def sent() -> int:
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def show(name: str, delays: list[float]) -> None:
    print(f"   {name}: median {median(delays) * 1e3:.2f} ms, 99th percentile {quantiles(delays, n=100)[-1] * 1e3:.2f} ms")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("optuna", "ray"))
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, python {platform.python_version()}, {packages}")
    print(f"1. delay of a report, one worker, {_TRIALS} trials of {_REPORTS} reports")
    local = LocalExecutor(set_up)
    begin(local)
    show("local", run(local)[0])
    local.stop()
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        head = {"temp_dir": folder, "include_dashboard": False, "num_cpus": 1, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        places = RayResources(kind="ray", address=cluster.address)
        with connected(places, "benchmark"):
            executor = RayExecutor(set_up, places)
            begin(executor)
            before = sent()
            time.sleep(_IDLE_S)
            idle = (sent() - before) / _IDLE_S
            before, began = sent(), time.monotonic()
            delays, passed = run(executor)
            net = sent() - before - idle * (time.monotonic() - began)
            show("ray", delays)
            pickled = sum(len(pickle.dumps(message)) for message in passed)
            print(f"2. {len(passed) / _TRIALS:.0f} messages a trial, {pickled / _TRIALS / 1e3:.1f} kB pickled")
            print(f"   sent {net / _TRIALS / 1e3:.0f} kB a trial; the idle cluster sends {idle / 1e3:.0f} kB a second")
            hosts = [p for p in psutil.process_iter() if p.name().startswith("ray::Host")]
            print(f"3. a host takes {hosts[0].memory_full_info().uss / 1e6:.0f} MB")
            executor.stop()
        cluster.shutdown()


if __name__ == "__main__":
    main()
