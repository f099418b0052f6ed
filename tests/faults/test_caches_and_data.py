"""Faults of caches, images and weights: the undisturbed study's values to the last digit, or one line and exit code 1."""

import gc
import hashlib
import itertools
import os
import shutil
import time
from pathlib import Path

import numpy as np
import optuna
import pytest

from search import cli
from search.driver import launch as launching
from search.workers.local import LocalExecutor
from tests.in_process import run_in_process, sharing
from tests.inline import InlineExecutor
from tests.tumorcls.pictures import sartaj_sample
from tumorcls.cache import arrays, checked
from tumorcls.model.backend import select_backend

pytestmark = pytest.mark.slow

TRIALS = 4


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Returns a folder of images: real ones where TUMORCLS_DATA names them, else phantoms; 24 of each class."""
    return sartaj_sample(tmp_path_factory.mktemp("images") / "sartaj")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Returns a weights file: that of TUMORCLS_WEIGHTS, or of random weights."""
    path = tmp_path_factory.mktemp("weights") / "weights.h5"
    real = os.environ.get("TUMORCLS_WEIGHTS")
    if real is not None:
        return Path(shutil.copy(real, path))
    select_backend()
    from tumorcls.model.backbone import build_backbone

    path = path.with_name("random.weights.h5")
    build_backbone(32, "none").save_weights(path)
    return path


@pytest.fixture
def study(folder, images, weights, toml):
    """Makes a study on images and weights of its own, with an empty cache of its own; only the head is trained."""
    return make_study(folder, images, weights, toml)


def make_study(folder, images, weights, toml):
    shutil.copytree(images, folder / "sartaj")
    (folder / "weights").mkdir()
    shutil.copy(weights, folder / "weights")
    return write_study(folder, toml, f"weights/{weights.name}")


def write_study(folder, toml, weights):
    objective = {
        "data": '["sartaj"]',
        "weights": f'"{weights}"',
        "split": "{ validation = 0.25, test = 0.25 }",
        "image_size": "32",
        "trainable_from": '"head"',
        "views": "2",
        "epochs": "3",
        "batch_size": "8",
        "noisy_images": "16",
        "artifacts": "false",
    }
    head = {"name": '"demo"', "objective": '"tumorcls.objective:BrainTumourObjective"', "metric": '"robust_f1"'}
    space = {"x": None, "learning_rate": '{ type = "float", low = 1e-3, high = 1e-1, log = true }'}
    path = folder / "demo.toml"
    # With two workers it depends on their pace who could be pruned.
    tables = {"space": space, "objective": objective, "pruner": {"name": '"none"'}}
    path.write_text(toml(study={**head, "trials": str(TRIALS)}, **tables))
    return path


def environ_of(**extra):
    """Returns the variables of a launch: a cache of its own, and the backend of this process where a test asks for no other."""
    return {"TUMORCLS_CACHE": str(Path("cache").resolve()), "KERAS_BACKEND": select_backend(), **extra}


def launch_here(study, trials=TRIALS, code=0, workers=1, executor=InlineExecutor, **extra):
    """Runs ``search launch`` to its end in this process, which has loaded a backend, and holds nothing of the caches of others.

    Returns what it and its workers said on stderr, or in their logs where `executor` has them be processes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_HELD", arrays._Held())
        patch.setattr(checked, "_said", set())
        patch.setattr(launching, "LocalExecutor", executor)
        options = ("--trials", str(trials), "--workers", str(workers), "--quiet")
        done = run_in_process(cli.main, "search", "launch", str(study), *options, **environ_of(**extra))
    assert done.returncode == code, done.stderr
    assert code == 0 or len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr + "".join(path.read_text() for path in Path().glob("demo.worker-*.log"))


@pytest.fixture(scope="module", autouse=True)
def shared_programs():
    """Has launches in this process compile once for weights of the same bytes.

    A program that is reset gives what a fresh one does, says `tests/tumorcls/model/test_program.py`.
    """
    select_backend()
    from tumorcls.model import program_cache

    key_of = program_cache.program_key

    def key(config):
        return hashlib.sha256(Path(config.weights).read_bytes()).digest(), key_of(config.model_copy(update={"weights": "h5"}))

    with pytest.MonkeyPatch.context() as patch, sharing(program_cache.ProgramCache()):
        patch.setattr(program_cache, "program_key", key)
        yield
    gc.collect()  # networks are held by cycles


@pytest.fixture
def launch(folder):
    """Runs ``search launch`` to its end; see `launch_here`."""
    return launch_here


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, images, weights, toml):
    """Returns the folder of a study after its first launch, and its values after a second one; nobody disturbed either."""
    folder, first = tmp_path_factory.mktemp("undisturbed"), tmp_path_factory.mktemp("begun")
    make_study(folder, images, weights, toml)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        launch_here("demo.toml")
        for path in folder.glob("demo.*"):
            shutil.copy(path, first)
        shutil.copytree(folder / "cache", first / "cache")
        launch_here("demo.toml", TRIALS + 2)
    return first, values(folder)


def values(folder=Path()):
    study = optuna.load_study(study_name="demo", storage=f"sqlite:///{folder / 'demo.db'}")
    return [trial.value for trial in study.trials if trial.state.name == "COMPLETE"]


def what_happened():
    """Returns for each trial its state and attributes, and the ends of the workers' logs."""
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    trials = [(trial.number, trial.state.name, trial.value, trial.user_attrs, trial.system_attrs) for trial in study.trials]
    return "\n".join([*map(str, trials), *(path.read_text()[-1500:] for path in Path().glob("demo.worker-*.log"))])


def entries():
    found = sorted(Path("cache").rglob("*.npy"))
    assert found, "there is something to damage"
    return found


def flip(path):
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) - 200, max(1, len(content) // 9)):
        content[place] ^= 0x40
    path.write_bytes(content)


def zero(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(len(content[middle : middle + 4096]))
    path.write_bytes(content)


def not_numbers(path):
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x7e" * 400)


HARMS = {
    "bits flipped": flip,
    "pages zeroed": zero,
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "without a header": lambda path: path.write_bytes(path.read_bytes()[128:]),
    "a plain array": lambda path: np.save(path, np.zeros_like(np.load(path))),
    "not numbers": not_numbers,
    "gone": Path.unlink,
    "unreadable type": lambda path: path.write_bytes(path.read_bytes().replace(b"<f2", b"<f8").replace(b"|u1", b"|O1")),
}
OF_BYTES = ("bits flipped", "pages zeroed", "not numbers", "unreadable type")
OF_SIZE = ("truncated", "empty", "without a header", "a plain array")


@pytest.fixture
def expected(undisturbed):
    """Returns the values of a study of six trials that is launched twice and that nobody disturbs."""
    return undisturbed[1]


@pytest.fixture
def begun(study, undisturbed):
    """The study after its first launch, with the cache that it left."""
    shutil.copytree(undisturbed[0], ".", dirs_exist_ok=True)
    return study


# Each harm by itself: `tests/tumorcls/cache/test_arrays.py`.
@pytest.mark.parametrize(
    ("harms", "workers"), [(OF_BYTES, 2), (OF_SIZE, 1), (("gone",), 1)], ids=["bytes of two workers", "sizes", "gone"]
)
def test_a_cache_damaged_between_two_launches_changes_no_value(begun, launch, expected, harms, workers):
    damaged = entries()
    assert len(damaged) >= len(harms)
    for path, name in zip(damaged, itertools.cycle(harms), strict=False):
        HARMS[name](path)
    executor = InlineExecutor if workers == 1 else LocalExecutor  # processes come upon the damage together
    told = launch(begun, TRIALS + 2, workers=workers, executor=executor)
    assert sorted(values()) == sorted(expected)
    if harms != ("gone",):
        assert [path.name for path in damaged if f"{path.name}: dropped and computed again" not in told] == []


def test_records_of_the_scan_damaged_between_launches_change_no_value(study, launch, expected):
    launch(study, TRIALS - 1)
    for trials, name in enumerate(("bits flipped", "truncated", "gone"), start=TRIALS):
        records = list(Path("cache").glob("*.npz"))
        assert len(records) == 3, "of the scan, of the groups, and of what the study measures with"
        for path in records:
            HARMS[name](path)
        launch(study, trials)
        assert values() == expected[:trials], name


@pytest.mark.parametrize("held", ["held", "rows"])
def test_arrays_truncated_and_overwritten_while_trials_run_change_no_value(study, start, expected, folder, held):
    if held == "rows":  # as entries are read that are too large to be held
        (folder / "sitecustomize.py").write_text("from tumorcls.cache import arrays\narrays.HELD_ENTRY_BYTES = 0\n")
    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    process = start("launch", study, "--trials", TRIALS + 2, "--workers", 2, "--quiet", **environ_of(PYTHONPATH=paths))
    rng = np.random.default_rng(0)
    harms = [HARMS[name] for name in ("bits flipped", "pages zeroed", "truncated", "empty")]
    harmed = 0
    while process.poll() is None:
        time.sleep(0.1)
        there = sorted(Path("cache").rglob("*.npy"))
        if there:
            try:
                harms[rng.integers(len(harms))](there[rng.integers(len(there))])
                harmed += 1
            except (OSError, ValueError):  # it was replaced in this very moment
                continue
    _, told = process.communicate()
    assert harmed > 3
    assert sorted(values()) == sorted(expected), (told, what_happened())
    assert process.returncode == 0, told


def replaced(path, another):
    """Gives a file another's pixels, its own size and its own times."""
    status = path.stat()
    content = another.read_bytes()
    assert content != path.read_bytes()
    path.write_bytes(content[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def files():
    return sorted((path for path in Path("sartaj").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_images_replaced_between_two_launches_are_refused_and_named(begun, launch, expected):
    before = values()
    target, original = files()[-1], files()[-1].read_bytes()
    replaced(target, files()[0])
    refused = launch(begun, TRIALS + 2, code=1, workers=2)
    assert "data: 1 changed (" in refused
    assert target.name in refused
    assert values() == before
    target.write_bytes(original)
    launch(begun, TRIALS + 2)
    assert values() == expected


@pytest.mark.parametrize("change", ["added", "removed"])
def test_images_added_or_removed_between_two_launches_are_refused(begun, launch, change):
    before = values()
    if change == "added":
        shutil.copy(files()[0], files()[-1].with_name("new.jpg"))
    else:
        files()[0].unlink()
    assert f"data: 1 {change} (" in launch(begun, TRIALS + 2, code=1)
    assert values() == before


def test_data_that_was_moved_is_accepted(begun, launch, expected):
    Path("sartaj").rename("elsewhere")
    Path("sartaj").symlink_to("elsewhere")
    shutil.rmtree("cache")
    launch(begun, TRIALS + 2)
    assert values() == expected


def test_other_weights_under_the_same_name_are_refused(begun, launch):
    before = values()
    [path] = Path("weights").iterdir()
    other_weights(path)
    refused = launch(begun, TRIALS + 2, code=1)
    assert "weights was " in refused
    assert values() == before


def other_weights(path):
    """Changes one weight a little, as a fine-tuned network would."""
    import h5py

    with h5py.File(path, "r+") as file:
        names = []
        file.visit(lambda name: names.append(name) if isinstance(file[name], h5py.Dataset) and file[name].ndim == 4 else None)
        file[names[-1]][0, 0, 0, 0] += 1e-3


def test_another_backend_is_refused(begun, launch):
    pytest.importorskip("jax")
    before = values()
    told = launch(begun, TRIALS + 2, code=1, executor=LocalExecutor, KERAS_BACKEND="jax")
    assert "backend was tensorflow, and is jax" in told
    assert values() == before


@pytest.mark.parametrize("kind", ["full", "no folder"])
def test_a_cache_that_takes_nothing_in_costs_no_trial(study, launch, expected, full_disk, kind):
    """It is said once by each process, and the values are those of the undisturbed study."""
    cache = full_disk if kind == "full" else Path("weights.txt").resolve()
    if kind == "no folder":
        cache.touch()
    told = launch(study, TUMORCLS_CACHE=str(cache))
    assert values() == expected[:TRIALS]
    assert told.count(f"{cache}: the cache must be writable and have room") == 1, told
