"""Two fingerprints are equal where the values would be, and the files that differ are named."""

import errno
import os
import platform
import shutil
from pathlib import Path

import pytest

from tumorcls.data.phantom import write_dataset
from tumorcls.data.prepare import prepare
from tumorcls.data.split import SplitSettings
from tumorcls.training.measured_with import computed_with, describe_change, fingerprint


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "data", images=40, seed=0, size=64)
    return tmp_path / "data"


@pytest.fixture
def found(tmp_path):
    """Returns the function that gives what a process finds in a folder: its fingerprint, and how it differs from another."""

    def look(folder, before=None, *, weights="w" * 64, backend="tensorflow", cache=tmp_path / "cache", **split):
        prepared = prepare([folder], SplitSettings(**{"validation": 0.25, "test": 0.25, **split}), cache)
        now = fingerprint(prepared, weights, backend, cache)
        return now, describe_change(before or now, now, prepared, cache)

    return look


def names(before, now):
    return [name for name in now if before[name] != now[name]]


def image(folder, number=0):
    return sorted(path for path in folder.rglob("*") if path.is_file())[number]


def test_on_record_is_what_computed_and_not_what_was_to_be_chosen(make_config, monkeypatch):
    auto, head = make_config(trainable_from="block7"), make_config(trainable_from="head")
    monkeypatch.setattr("tumorcls.model.backend._gpu", lambda: None)
    assert computed_with(auto) == {"device": f"CPU, {platform.machine()}", "precision": "float32"}
    monkeypatch.setattr("tumorcls.model.program.gains_by_bfloat16", lambda: True)
    assert [computed_with(config)["precision"] for config in (auto, head)] == ["mixed", "float32"]


def test_the_same_images_in_another_folder_are_the_same(folder, found, tmp_path):
    before, told = found(folder)
    assert told == ""
    assert before["data"].startswith("40 images ")
    moved = shutil.move(folder, tmp_path / "elsewhere" / folder.name)
    assert found(moved, cache=tmp_path / "another-cache") == (before, "")


def test_a_study_of_before_goes_on_where_its_images_are_what_they_were(folder, found):
    """How a file is decoded is in the hash of its image: it changes the data of whoever has such files, and nobody's code."""
    assert found(folder)[0]["code"] == "pixels 2, views 5, noise 1"


def test_a_changed_file_is_named(folder, found):
    before, _ = found(folder)
    shutil.copy(image(folder, 5), image(folder, 30))
    now, told = found(folder, before)
    assert names(before, now) == ["data", "split"]
    assert told.startswith(f"data: 1 changed ({image(folder, 30).relative_to(folder)}); data was 40 images ")
    assert "split" not in told


def test_of_many_changes_three_files_are_named(folder, found):
    before, _ = found(folder)
    for number in (3, 13, 23):
        shutil.copy(image(folder, 5), image(folder, number))
    image(folder, 39).unlink()
    shutil.copy(image(folder, 6), image(folder, 6).with_name("new.png"))
    _, told = found(folder, before)
    assert told.startswith("data: 3 changed, 1 added, 1 removed (")
    assert told.count(", ...)") == 1


def test_a_machine_that_never_saw_the_former_data_says_how_many_there_were(folder, found, tmp_path):
    before, _ = found(folder)
    image(folder, 39).unlink()
    _, told = found(folder, before, cache=tmp_path / "another-cache")
    assert told.startswith("data was 40 images ")
    assert ", and is 39 images " in told


def test_another_label_is_another_data_set(folder, found):
    before, _ = found(folder)
    moved = image(folder)
    other = next(path.parent for path in folder.rglob("*") if path.is_file() and path.parent != moved.parent)
    shutil.move(moved, other / "moved.png")
    assert "data" in names(before, found(folder)[0])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"weights": "v" * 64}, ["weights"]),
        ({"backend": "jax"}, ["backend"]),
        ({"seed": 1}, ["split"]),
        ({"duplicates": "drop", "validation": 0.3}, ["split"]),
    ],
)
def test_each_part_is_told_by_its_name(folder, found, changed, expected):
    before, _ = found(folder)
    now, told = found(folder, before, **changed)
    assert names(before, now) == expected
    assert told.startswith(f"{expected[0]} was ")
    assert ";" not in told


def test_a_cache_that_is_closed_costs_no_fingerprint(folder, found, monkeypatch):
    before, _ = found(folder)
    stat = Path.stat

    def closed(path, **options):
        if path.parent.name == "cache":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", closed)
    assert found(folder, before) == (before, "")
