"""Ray on this machine as three nodes. Each has a cache folder of its own, as machines have."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from search.errors import WorkerError
from search.records.attributes import FAILURE_KEY, RETRIES_KEY, RETRY_KEY, SEED_KEY
from search.study_file.policy import RayResources
from search.workers import ray_actor
from search.workers.local import LocalExecutor
from search.workers.process import WorkerSetup
from search.workers.protocol import Died, Outcome, Ready, Report, RunTrial, StartFailed, UserAttr
from search.workers.ray import RayExecutor, connected

REPOSITORY = Path(__file__).parents[3]
THREADS = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}  # sums depend on them
PLAIN = {"RAY_worker_niceness": "0"}  # Ray's own 15 lets its workers starve beside other tests

needs_ray = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('ray')", reason="Ray is not installed")


class Nodes:
    """A cluster of one-CPU nodes, the first of which has a GPU that nobody looks at."""

    def __init__(self, folder):
        from ray._common.utils import get_default_ray_temp_dir
        from ray.cluster_utils import Cluster

        # Ray notes the cluster's address there, whatever `temp_dir` says, and where it has never run the folder is missing.
        Path(get_default_ray_temp_dir()).mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.nodes = []
        self.cluster = Cluster()
        for _ in range(3):
            self.add()

    @property
    def address(self):
        return self.cluster.address

    def add(self):
        number = len(self.nodes)
        environ = {"PYTHONPATH": str(REPOSITORY), "TUMORCLS_CACHE": str(self.cache(number)), **PLAIN, **THREADS}
        head = {"temp_dir": str(self.folder), "include_dashboard": False, "num_gpus": 1} if number == 0 else {}
        node = self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, env_vars=environ, **head)
        self.nodes.append(node)
        return number

    def kill(self, number):
        self.cluster.remove_node(self.nodes[number], allow_graceful=False)

    def cache(self, number):
        return self.folder / f"cache-{number}"

    def of_worker(self, pid):
        """Returns the number of the node that a worker process is on, or None where the process is gone."""
        with contextlib.suppress(psutil.Error):
            raylet = psutil.Process(pid).parent().ppid()
            for number, node in enumerate(self.nodes):
                if any(info.process.pid == raylet for info in node.all_processes.get("raylet", [])):
                    return number
        return None


@pytest.fixture(scope="module")
def nodes():
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a path of pytest's is too long for the sockets in it
    nodes = Nodes(folder)
    yield nodes
    nodes.cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ray_study(nodes):
    """Returns the tables that turn a study into one on the cluster."""

    def tables(study, **others):
        return {"study": {**study, "executor": f'{{ kind = "ray", address = "{nodes.address}" }}'}, **others}

    return tables


def running(study):
    """The worker processes that run a trial at the moment."""
    return {t.user_attrs["pid"] for t in study.trials if t.state.name == "RUNNING" and "pid" in t.user_attrs}


def are_gone(pids):
    return not any(psutil.pid_exists(pid) for pid in pids)


@needs_ray
@pytest.mark.slow
def test_a_node_is_lost_and_another_joins(nodes, ray_study, write, search, start, wait_for, read_study, results):
    study = {"objective": '"objectives:Parabola"', "trials": "200"}
    others = {"sampler": {"name": '"random"'}, "pruner": {"name": '"none"'}, "objective": {"pause": "0.05"}}
    write("local.toml", study={**study, "name": '"local"'}, **others)
    search("launch", "local.toml", "--workers", 3)
    write(**ray_study(study, **others))
    driver = start("launch", "demo.toml", "--workers", 3)

    def running_on(number):
        return [pid for pid in running(read_study()) if nodes.of_worker(pid) == number]

    wait_for(lambda: Path("demo.worker-2.log").exists() and running_on(1))
    nodes.kill(1)
    joined = nodes.add()
    wait_for(lambda: running_on(joined))
    out, err = driver.communicate()
    assert (driver.returncode, err) == (0, ""), out
    assert out.splitlines()[-4] == "Budget reached: 200/200 trials."
    assert not [line for line in out.splitlines() if "raylet" in line], "Ray keeps quiet"

    study = read_study()
    assert Counter(t.state.name for t in study.trials) == {"COMPLETE": 200, "FAIL": len(study.trials) - 200}
    lost = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert [trial.user_attrs[FAILURE_KEY] for trial in lost] == ["the worker's node was lost"]
    retry = next(trial for trial in study.trials if trial.user_attrs.get(RETRY_KEY) == lost[0].number)
    assert (retry.params, retry.user_attrs[SEED_KEY]) == (lost[0].params, lost[0].user_attrs[SEED_KEY])
    assert RETRIES_KEY not in retry.user_attrs, "it was not the config's fault, and costs it no retry"
    local = read_study("local", "sqlite:///local.db")
    assert sorted(results(study), key=str) == sorted(results(local), key=str)
    wait_for(lambda: are_gone({trial.user_attrs["pid"] for trial in study.trials if "pid" in trial.user_attrs}))


@needs_ray
@pytest.mark.slow
def test_the_real_objective_gives_the_same_there(nodes, ray_study, write, start, read_study):
    study = {
        "objective": '"tumorcls.objective:BrainTumourObjective"',
        "metric": '"clean_f1"',
        "trials": "6",
    }
    others = {
        "space": {
            "x": None,
            "epochs": '{ type = "int", low = 1, high = 2 }',
            "learning_rate": '{ type = "float", low = 1e-4, high = 1e-2, log = true }',
        },
        "sampler": {"name": '"random"'},
        "pruner": {"name": '"none"'},
        "objective": {
            "data": '"phantoms:96"',
            "weights": '"none"',
            "batch_norm": '"train"',
            "image_size": "32",
            "trainable_from": '"head"',
            "noisy_images": "16",
            "score": '"clean_f1"',
        },
    }
    found = []
    for name, tables, count in (("local", {"study": study, **others}, 1), ("demo", ray_study(study, **others), 2)):
        tables["study"] = {**tables["study"], "name": f'"{name}"'}
        write(f"{name}.toml", **tables)
        driver = start("launch", f"{name}.toml", "--workers", count, TUMORCLS_CACHE=str(Path("cache").resolve()), **THREADS)
        out, _ = driver.communicate()
        assert driver.returncode == 0, out
        trials = read_study(name, f"sqlite:///{name}.db").trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
        found.append([(trial.params, trial.values, trial.intermediate_values) for trial in trials])
    assert found[0] == found[1]
    caches = [nodes.cache(number) for number in range(len(nodes.nodes)) if nodes.cache(number).exists()]
    first, second = ({path.name for path in cache.rglob("*.npy")} for cache in caches)
    assert first & second, "each node has the data"
    assert first | second == {path.name for path in Path("cache").rglob("*.npy")}, "and the features of its own trials"


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_behind(ray_study, write, start, wait_for, read_study, number):
    write(**ray_study({"objective": '"objectives:Parabola"', "trials": "999"}, objective={"pause": "0.2"}))
    driver = start("launch", "demo.toml", "--workers", 2)
    wait_for(lambda: Path("demo.worker-1.log").exists() and len(running(read_study())) == 2)
    pids = running(read_study())
    pids |= {psutil.Process(pid).ppid() for pid in pids}
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # as a terminal does
    else:
        driver.send_signal(number)
    driver.communicate()
    assert driver.returncode == (-number if number == signal.SIGKILL else 130)
    wait_for(lambda: are_gone(pids))
    states = {trial.state.name for trial in read_study().trials}
    assert ("RUNNING" in states) == (number == signal.SIGKILL)


@pytest.fixture
def make(nodes):
    """Returns the function that makes an executor in this process."""
    with contextlib.ExitStack() as stack:

        def build(target, environ=None, cpus=1.0, gpus=0.0, **settings):
            places = RayResources(kind="ray", address=nodes.address, gpus_per_trial=gpus, cpus_per_trial=cpus)
            stack.enter_context(connected(places, "x.toml"))
            folder = Path.cwd()
            executor = RayExecutor(lambda n: WorkerSetup(target, settings, folder / f"{n}.log", environ or {}), places)
            stack.callback(executor.stop, at_once=True)
            return executor

        yield build


def listen(executor, until, count=1, seconds=120.0):
    """Returns all that is said up to the `count`-th message of the kind `until`."""
    said = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said += executor.receive(0.1)
        if sum(isinstance(message, until) for _, message in said) >= count:
            return said
    pytest.fail(f"heard only {said}")


@needs_ray
@pytest.mark.slow
def test_a_worker_that_dies_says_by_which_signal(make):
    executor = make("objectives:misbehave", mode="kill")
    executor.start(0)
    assert listen(executor, Ready) == [(0, Ready())]
    executor.send(0, RunTrial(1, {"x": 1.0}, {}))
    assert listen(executor, Died) == [(0, Died("the worker process was killed by SIGKILL (out of memory?)"))]
    assert executor.receive(0.1) == []


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_node_without_the_drivers_folder_makes_no_log_of_its_own(folder, monkeypatch, has_folder):
    started = []
    monkeypatch.setattr(ray_actor, "_as_a_plain_interpreter", contextlib.nullcontext)
    monkeypatch.setattr(LocalExecutor, "start", lambda executor, worker: started.append(executor._setup(worker)))
    there = folder / "there"
    if has_folder:
        there.mkdir()
    ray_actor.Host(WorkerSetup("objectives:Parabola", {}, Path("0.log")), str(there))
    assert started[0].log == (there / "0.log" if has_folder else None)


@needs_ray
@pytest.mark.slow
def test_a_worker_that_cannot_start_says_why(make):
    executor = make("objectives:NoStart")
    executor.start(0)
    said = [message for _, message in listen(executor, Died)]
    assert isinstance(said[0], StartFailed)
    assert "OwnError" in Path("0.log").read_text()


@needs_ray
@pytest.mark.slow
def test_a_host_that_dies_takes_its_worker_along_and_can_be_replaced(make, wait_for):
    executor = make("objectives:Parabola", steps=1)
    executor.start(0)
    listen(executor, Ready)
    executor.send(0, RunTrial(0, {"x": 1.0}, {"seed": 0}))
    pid = next(message.value for _, message in listen(executor, Report) if isinstance(message, UserAttr))
    psutil.Process(pid).parent().kill()
    wait_for(lambda: are_gone({pid}))
    (died,) = [message for _, message in listen(executor, Died)]
    assert died.reason.startswith("the worker's host on Ray ended: The actor is dead because its worker process has died.")
    assert not died.node_lost
    executor.start(0)
    assert listen(executor, Ready) == [(0, Ready())]


@needs_ray
@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_leaves_its_stack(make, wait_for):
    executor = make("objectives:deaf")
    executor.start(0)
    listen(executor, Ready)
    executor.send(0, RunTrial(0, {}, {}))
    wait_for(Path("deaf").exists)
    executor.kill(0)
    assert executor.receive(0.1) == []
    assert "in deaf" in Path("0.log").read_text()


@needs_ray
@pytest.mark.slow
def test_two_trials_share_a_gpu_and_a_third_waits(make):
    Path("reads.py").write_text(
        "import os\nSEEN = os.environ.get('CUDA_VISIBLE_DEVICES')\n"
        "def f(trial):\n    trial.set_user_attr('seen', SEEN)\n    return 1.0\n"
    )
    executor = make("reads:f", cpus=0.1, gpus=0.5)
    for worker in range(3):
        executor.start(worker)
    ready = {worker for worker, _ in listen(executor, Ready, 2)}
    assert executor.receive(1.0) == [], "there is no place for the third"
    for worker in ready:
        executor.send(worker, RunTrial(worker, {}, {}))
    said = [message for _, message in listen(executor, Outcome, 2)]
    assert [message.value for message in said if not isinstance(message, Outcome)] == ["0", "0"]
    executor.kill(ready.pop())
    assert [type(message) for _, message in listen(executor, Ready)] == [Ready], "now there is"


@needs_ray
def test_what_no_node_could_hold_is_refused(nodes):
    places = RayResources(kind="ray", address=nodes.address, cpus_per_trial=64.0)
    with pytest.raises(WorkerError) as caught, connected(places, "x.toml"):
        pass
    assert str(caught.value) == (
        "x.toml: study.executor: a node must have 64 CPUs (cpus_per_trial) and 0 GPUs (gpus_per_trial); "
        "got nodes of 1 CPUs and 0 GPUs, 1 CPUs and 1 GPUs. Lower them, or start such a node."
    )


@needs_ray
@pytest.mark.slow
def test_an_address_where_nobody_answers_is_one_line(write, search):
    write(study={"executor": '{ kind = "ray", address = "127.0.0.1:1" }'})
    said = search("launch", "demo.toml", code=1).stderr
    assert said.startswith(
        'error: demo.toml: study.executor.address: must be a Ray cluster with this machine in it; got "127.0'
    )
    assert not Path("demo.db").exists()


def test_without_ray_the_extra_is_named(write, search_process, folder):
    (folder / "ray.py").write_text("raise ImportError\n")
    write(study={"executor": '{ kind = "ray" }'})
    said = search_process("launch", "demo.toml", code=1, PYTHONPATH=f"{folder}:{REPOSITORY}").stderr
    assert said.endswith("Run: pip install 'tumorcls[ray]'.\n")
