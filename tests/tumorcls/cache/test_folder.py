import os
import stat
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tumorcls.cache.arrays import ArrayCache
from tumorcls.cache.checked import keep_arrays, load_arrays
from tumorcls.cache.folder import cache_folder, make_room, max_bytes_of_environment
from tumorcls.data.manifest import scan
from tumorcls.data.phantom import materialise
from tumorcls.errors import ConfigError
from tumorcls.model import backend

SCAN, GROUPS, DATA = (f"{kind}-{number:024x}.npz" for number, kind in enumerate(("scan", "groups", "data")))


def test_everything_in_the_cache_folder_counts_and_only_what_can_be_made_again_quickly_goes(tmp_path):
    for number, name in enumerate((SCAN, GROUPS, "arrays/c.npy", DATA, "arrays/e.npy")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (number, number))
    for name in ("jax/program-cache", "phantoms-v1-4-0/Training/glioma_tumor/gg (1).jpg", "arrays/c.lock", "data-mine.npz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (0, 0))

    def left():
        return {path.name for path in tmp_path.rglob("*") if path.is_file()}

    everything = left()
    make_room(tmp_path, 1000, 8000)
    assert left() == everything
    make_room(tmp_path, 1000, 6000)
    assert left() == everything - {SCAN, GROUPS}
    make_room(tmp_path, 1000, 1000)
    assert left() == {"program-cache", "gg (1).jpg", "c.lock", "data-mine.npz"}, "what is not ours neither goes nor counts"


def test_what_killed_writers_left_goes_first_but_not_under_a_writers_hands(tmp_path):
    """It was used last, and would have an entry go that somebody may ask for."""
    (tmp_path / "arrays").mkdir()
    for used, name in enumerate(("longest.npy", "entry.npy", "left.partial", "written.partial")):
        path = tmp_path / "arrays" / name
        path.write_bytes(bytes(8000))
        os.utime(path, (used, used))

    def left():
        return {path.name for path in (tmp_path / "arrays").iterdir()} - {"left.lock", "written.lock"}

    with FileLock(tmp_path / "arrays" / "written.lock"):
        make_room(tmp_path, 6_000, 30_000)
        assert left() == {"longest.npy", "entry.npy", "written.partial"}
        make_room(tmp_path, 10_000, 30_000)
        assert left() == {"entry.npy", "written.partial"}, "what is being written counts"
    make_room(tmp_path, 10_000, 30_000)
    assert left() == {"entry.npy"}


def test_who_makes_an_entry_anew_has_the_room_of_a_killed_writer(tmp_path):
    cache = ArrayCache(tmp_path, max_bytes=25_000)
    cache.get("kept", (7, 1000), np.uint8, lambda: iter([np.zeros((7, 1000), np.uint8)]))
    (tmp_path / "arrays" / "a.partial").write_bytes(bytes(10_000))
    cache.get("a", (10, 1000), np.uint8, lambda: iter([np.zeros((10, 1000), np.uint8)]))
    assert {path.name for path in (tmp_path / "arrays").glob("*[!k]")} == {"kept.npy", "a.npy"}


def test_on_a_drive_without_locks_only_what_nobody_can_be_writing_goes(tmp_path, monkeypatch):
    def none(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", none)
    (tmp_path / "arrays").mkdir()
    for name in ("a.partial", "a.0123456789ab.partial", "b.0123456789ab.partial"):
        (tmp_path / "arrays" / name).write_bytes(bytes(1000))
    os.utime(tmp_path / "arrays" / "b.0123456789ab.partial", (0, 0))
    make_room(tmp_path, 10_000, 1000)
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == ["a.0123456789ab.partial", "a.partial"]


def test_an_array_makes_room_among_records_and_their_use_is_noted(tmp_path):
    keep_arrays(tmp_path / SCAN, fields=np.zeros(1000))
    keep_arrays(tmp_path / GROUPS, fields=np.zeros(1000))
    for age, name in enumerate((GROUPS, SCAN)):
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    load_arrays(tmp_path / SCAN)  # which was the longest unused
    ArrayCache(tmp_path, max_bytes=15_000).get("key", (500,), np.float64, lambda: iter([np.zeros(500)]))
    assert [path.name for path in tmp_path.glob("*.npz")] == [SCAN]


def test_generated_images_lie_where_they_count(tmp_path):
    assert materialise("phantoms:4", tmp_path) in set(Path(tmp_path).glob("phantoms-v*"))


def _jax_keeps_programs(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORCLS_CACHE", str(cache))
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        patch.delenv("JAX_COMPILATION_CACHE_MAX_SIZE", raising=False)
        backend._keep_compiled_programs()
        os.environ.pop("JAX_COMPILATION_CACHE_DIR")
        os.environ.pop("JAX_COMPILATION_CACHE_MAX_SIZE")


@pytest.mark.parametrize(
    "fill",
    [
        lambda cache: keep_arrays(cache / SCAN, content=np.zeros(1)),
        lambda cache: ArrayCache(cache).get("key", (1,), np.float64, lambda: iter([np.zeros(1)])),
        lambda cache: materialise("phantoms:4", cache),
        lambda cache: scan(["phantoms:4"], cache),
        _jax_keeps_programs,
    ],
    ids=["records", "arrays", "phantoms", "scan", "jax"],
)
def test_it_holds_images_and_is_made_for_this_account_alone(tmp_path, fill):
    fill(tmp_path / "home" / "own")
    assert stat.S_IMODE((tmp_path / "home" / "own").stat().st_mode) == 0o700
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    fill(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o2775, "a laboratory may share one"


def test_the_bound_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TUMORCLS_CACHE_GIB", "0.5")
    assert ArrayCache(tmp_path).max_bytes == 2**29
    monkeypatch.setenv("TUMORCLS_CACHE_GIB", "")
    assert max_bytes_of_environment() == 20 * 2**30


def test_the_folder_may_lie_in_a_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUMORCLS_CACHE", "~/cache")
    assert cache_folder() == tmp_path / "cache"


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_name_is_none(monkeypatch, blank):
    monkeypatch.delenv("TUMORCLS_CACHE", raising=False)
    usual = cache_folder()
    monkeypatch.setenv("TUMORCLS_CACHE", blank)
    assert cache_folder() == usual


@pytest.mark.parametrize("text", ["20GB", "-1", "0", "nan", "inf", "1e400", "ten", "1_0_", "\n", "0x10", "1" * 5000])
def test_a_bound_that_is_no_size_is_one_line(monkeypatch, text):
    monkeypatch.setenv("TUMORCLS_CACHE_GIB", text)
    if not text.strip():
        assert max_bytes_of_environment() == 20 * 2**30
        return
    with pytest.raises(ConfigError, match="TUMORCLS_CACHE_GIB: must be a number of GiB above 0; got ") as caught:
        max_bytes_of_environment()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
