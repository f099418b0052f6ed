"""The tiers of the tests, by place: what is quick, what is slow, what needs a server, and what runs in which process."""

import errno
import functools
import gc
import os
import signal
import sys
import tempfile
import threading
import weakref
from pathlib import Path

import pytest

from tests.peak_memory import PeakMemory
from tumorcls.model.backend import select_backend
from tumorcls.model.tensorflow_internals import forget_gradients

TESTS = Path(__file__).parent

SLOW = ("faults", "benchmarks/test_search_quality_own_stacks.py")
"""What is slow as a whole, whatever its tests say."""

SLOW_FIXTURES = frozenset({"nodes"})
"""Fixtures that make a test slow: a Ray cluster."""

LONG = (
    "test_notebook.py",
    "search/workers/test_ray.py",
    "test_readme.py",
    "test_end_to_end.py",
    "test_figures.py",
    "faults/test_caches_and_data.py",
    "faults/test_foreign_studies.py",
    "tumorcls/model/test_phantom_weights.py",
    "search/driver/test_chaos.py",
    "tumorcls/training/test_checkpoint.py",
    "tumorcls/model/test_program.py",
    "tumorcls/model/test_backend.py",
    "tumorcls/data/test_real_sets.py",
    "tumorcls/commands/test_predict_memory.py",
)
"""The files with the longest of the slow tests, which begin: at the end, one process would run them and the others wait."""

LONG_LATER = (
    "tumorcls/commands/test_model_commands.py",
    "tumorcls/training/test_trainer.py",
    "tumorcls/model/test_saved_model.py",
    "tumorcls/test_objective.py",
)
"""Those that come next, and would be among the last. Not in the quick tier: its order decides how much memory it takes."""

SERVERS = frozenset({"postgresql", "mariadb"})
"""Fixtures that start a server."""

KERAS = (
    "benchmarks/test_device_speed.py",
    "benchmarks/test_kept.py",
    "benchmarks/test_leak.py",
    "benchmarks/test_random_filter.py",
    "benchmarks/test_recipe.py",
    "search/keras_tuner/test_discovery.py",
    "search/keras_tuner/test_five_kinds.py",
    "search/keras_tuner/test_hypermodel.py",
    "search/keras_tuner/test_tuner.py",
    "tumorcls/commands/test_model_commands.py",
    "tumorcls/commands/test_predict_memory.py",
    "tumorcls/inference/test_activation_map.py",
    "tumorcls/inference/test_onnx_tflite.py",
    "tumorcls/inference/test_predict.py",
    "tumorcls/inference/test_web.py",
    "tumorcls/model/test_augment.py",
    "tumorcls/model/test_backbone.py",
    "tumorcls/model/test_backend.py",
    "tumorcls/model/test_device_memory.py",
    "tumorcls/model/test_divergence.py",
    "tumorcls/model/test_dropout.py",
    "tumorcls/model/test_ensemble.py",
    "tumorcls/model/test_folding.py",
    "tumorcls/model/test_gate.py",
    "tumorcls/model/test_gpu.py",
    "tumorcls/model/test_moving_average.py",
    "tumorcls/model/test_phantom_weights.py",
    "tumorcls/model/test_program.py",
    "tumorcls/model/test_saved_model.py",
    "tumorcls/model/test_tensorflow_internals.py",
    "tumorcls/model/test_weights.py",
    "tumorcls/noise/test_counter_rng.py",
    "tumorcls/noise/test_layer.py",
    "tumorcls/reports/test_model_card.py",
    "tumorcls/reports/test_noise_sheet.py",
    "tumorcls/reports/test_trial_figures.py",
    "tumorcls/test_before.py",
    "tumorcls/test_objective.py",
    "tumorcls/test_tutorial.py",
    "tumorcls/training",
)
"""What builds or runs networks, or only imports Keras. In the quick tier one process has all of it: a backend takes 500 MB.

What imports none belongs into the other process, which has time to spare.
"""


def pytest_configure(config):
    """Forgets the user's terminal; in the quick tier, lets the process that he started watch the memory of all of them."""
    for name in ("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"):
        os.environ.pop(name, None)
    os.environ["TERM"] = "xterm"  # rich draws nothing anew on a dumb one
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background: what tests start would not hear ^C either
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _is_quick_tier(config) and not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(PeakMemory())


def _is_quick_tier(config):
    return config.getoption("dist", "no") == "each"


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_configure_node(node):
    """Tells each process of the quick tier whether it has what runs networks, or the rest."""
    if _is_quick_tier(node.config):
        node.workerinput["networks"] = node.gateway.id == "gw0"


def pytest_ignore_collect(collection_path, config):
    """Has a process of the quick tier import only the tests that it runs: ``--dist each`` gives it all that it collects."""
    networks = getattr(config, "workerinput", {}).get("networks")
    if networks is None or collection_path.is_dir():
        return None
    place = _place(collection_path)
    return place.startswith(SLOW) or place.startswith(KERAS) != networks or None


def pytest_collectstart(collector):
    """Chooses Keras's backend before a test module imports Keras."""
    if isinstance(collector, pytest.Module) and _place(collector.path).startswith(KERAS):
        select_backend()


def _place(path):
    return path.relative_to(TESTS).as_posix()


def pytest_collection_finish(session):
    """Takes what a backend's import made, millions of objects, out of what Python looks through for garbage in each module."""
    if "keras" in sys.modules and hasattr(session.config, "workerinput"):
        gc.collect()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(config, items):
    """Marks tests by where they are and what they ask for, and begins with the longest."""
    long = LONG if "networks" in getattr(config, "workerinput", {}) else LONG + LONG_LATER
    for item in items:
        place = _place(item.path)
        if place.startswith(SLOW) or SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)
        if SERVERS & set(item.fixturenames):
            item.add_marker(pytest.mark.server)
        if place.startswith(KERAS):
            item.add_marker(pytest.mark.keras)
    items.sort(key=lambda item: long.index(place) if (place := _place(item.path)) in long else len(long))


@pytest.fixture(scope="module", autouse=True)
def only_one_process_runs_networks(request):
    """Has a module say so that imports a backend where none should be."""
    yield
    if getattr(request.config, "workerinput", {}).get("networks") is False and "keras" in sys.modules:
        pytest.fail(f"it imported Keras: name it in KERAS of tests/conftest.py, or let it not ({request.node.name})")


@pytest.fixture(scope="module", autouse=True)
def no_networks_are_left():
    """Lets go of the networks of a module: cycles hold them, and what TensorFlow registers, as `tensorflow_internals` says."""
    yield
    if "keras" in sys.modules:
        forget_gradients()
        gc.collect()


@pytest.fixture(scope="module", autouse=True)
def no_thread_is_left(request):
    """Has a module say so that leaves a thread running, which would take time from all tests after it."""
    before = set(threading.enumerate())
    yield
    if left := _threads_since(before):
        gc.collect()  # the threads of a pool that nobody holds end with it, which MLflow ties into a circle
        for thread in left:
            thread.join(timeout=10)
    names = [thread.name for thread in _threads_since(before)]
    assert not names, f"threads of {request.node.name} still run: {', '.join(names)}"


def _threads_since(before):
    return [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]


@pytest.fixture
def no_temporary_folder(monkeypatch):
    """Nowhere is room for temporary files: the only disk is full, or all but a volume is read-only."""

    def find():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", find)


@pytest.fixture(scope="session", autouse=True)
def plain_storages_close():
    """Has plain Optuna's storages close their connections when nobody holds them, as ours do.

    Nobody closes them otherwise, and from Python 3.13 on SQLite warns of a connection that is collected while it is open.
    """
    from optuna.storages import RDBStorage

    make = RDBStorage.__init__

    @functools.wraps(make)
    def make_and_close(self, *args, **kwargs):
        try:
            make(self, *args, **kwargs)
        finally:
            if type(self) is RDBStorage and hasattr(self, "engine"):  # ours are to close theirs themselves
                weakref.finalize(self, self.engine.dispose).atexit = False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RDBStorage, "__init__", make_and_close)
        yield


@pytest.fixture(scope="session", autouse=True)
def plain_storages_read_their_migrations_once():
    """Has plain Optuna run its migration scripts once in a process, to see which is the last.

    It runs them all three times for each database that it makes, and once for each that it opens: they take most of the time.
    """
    from optuna.storages._rdb.storage import _VersionManager

    read, scripts = _VersionManager._create_alembic_script, []

    def read_once(manager):
        if not scripts:
            scripts.append(read(manager))
        return scripts[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", read_once)
        yield
