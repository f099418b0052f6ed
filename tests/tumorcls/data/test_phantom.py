import errno
import multiprocessing
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorcls.commands.phantoms import command
from tumorcls.data.labels import CLASSES
from tumorcls.data.phantom import materialise, render, write_dataset
from tumorcls.data.prepare import prepare
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError


def picture(label, number, size=96, seed=0):
    return render(label, np.random.default_rng([seed, CLASSES.index(label), number]), size)


def test_pictures_are_grey_bytes_and_fixed_by_the_generator():
    for label in CLASSES:
        first = picture(label, 0)
        assert first.shape == (96, 96)
        assert first.dtype == np.uint8
        assert first[0, 0] < 40, "the background is black"
        assert first.max() > 120
        np.testing.assert_array_equal(first, picture(label, 0))
        assert (first != picture(label, 1)).mean() > 0.2
    with pytest.raises(ValueError, match="not in tuple"):
        render("tumour", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("label", "row"),
    [
        ("glioma", [11, 6, 96, 114, 115, 68, 117, 10]),
        ("meningioma", [3, 2, 178, 61, 81, 64, 130, 5]),
        ("no_tumor", [6, 2, 165, 91, 115, 78, 108, 10]),
        ("pituitary", [4, 7, 178, 89, 72, 67, 107, 7]),
    ],
)
def test_pictures_are_what_they_have_always_been(label, row):
    """What changes these must raise `_VERSION` of data.phantom, or folders in a cache would be taken for the new ones."""
    np.testing.assert_allclose(render(label, np.random.default_rng(3), 64)[32, ::8].astype(int), row, atol=1)


def test_lesions_are_bright_and_where_they_belong():
    # Mean difference to a head without a lesion, over many: the sellar lesion shows in the middle, the others do not.
    mean = {label: np.mean([picture(label, i).astype(float) for i in range(60)], axis=0) for label in CLASSES}
    centre = (slice(46, 58), slice(42, 54))
    assert mean["pituitary"][centre].mean() > mean["no_tumor"][centre].mean() + 30
    assert abs(mean["meningioma"][centre].mean() - mean["no_tumor"][centre].mean()) < 20
    bright = {label: np.mean([np.percentile(picture(label, i)[25:71, 25:71], 99) for i in range(30)]) for label in CLASSES}
    assert bright["glioma"] > bright["no_tumor"] + 20


def test_a_linear_model_on_raw_pixels_does_not_solve_them():
    pictures = [(cv2.resize(picture(label, i), (48, 48)).ravel() / 255, label) for i in range(200) for label in CLASSES]
    x, y = np.array([p for p, _ in pictures], np.float32), [label for _, label in pictures]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300)).fit(x[:540], y[:540])
    accuracy = model.score(x[540:], y[540:])
    assert 0.3 < accuracy < 0.7, "better than chance, and far from solved"


def test_a_data_set_has_the_kaggle_layout_and_grows_from_its_beginning(tmp_path):
    write_dataset(tmp_path / "small", images=6, seed=3, size=64)
    write_dataset(tmp_path / "large", images=9, seed=3, size=64)
    names = {str(path.relative_to(tmp_path / "small")) for path in (tmp_path / "small").rglob("*.jpg")}
    assert names == {
        "Training/glioma_tumor/gg (1).jpg",
        "Training/glioma_tumor/gg (2).jpg",
        "Training/meningioma_tumor/m (1).jpg",
        "Training/meningioma_tumor/m (2).jpg",
        "Training/no_tumor/image (1).jpg",
        "Training/pituitary_tumor/p (1).jpg",
    }
    for name in names:
        assert (tmp_path / "small" / name).read_bytes() == (tmp_path / "large" / name).read_bytes()


def test_copies_lie_beside_their_images_and_are_found(tmp_path):
    write_dataset(tmp_path / "few", images=40, seed=0, size=96)
    write_dataset(tmp_path / "with", images=40, seed=0, size=96, copies=14)
    few = {path.name: path.read_bytes() for path in (tmp_path / "few").rglob("*.jpg")}
    added = {path.name: path for path in (tmp_path / "with").rglob("*.jpg")}
    assert {name: added[name].read_bytes() for name in few} == few
    copies = added.keys() - few.keys()
    assert len(copies) == 14
    assert {"gg (1) copy.jpg", "gg (4) copy.jpg", "p (3) copy.jpg"} <= copies
    prepared = prepare([str(tmp_path / "with")], SplitSettings(), tmp_path / "cache")
    group = {Path(entry.path).name: group for entry, group in zip(prepared.manifest.entries, prepared.groups, strict=True)}
    for name in copies:
        assert added[name].read_bytes() != few[name.replace(" copy", "")]
        assert group[name] == group[name.replace(" copy", "")], name
    assert len(set(group.values())) >= 38, "and others are none"
    with pytest.raises(DataError, match="at most one of each of the 8 images; got 9"):
        write_dataset(tmp_path / "more", images=8, seed=0, size=96, copies=9)


def test_phantoms_go_through_the_real_loader_and_none_is_taken_for_a_copy(tmp_path):
    prepared = prepare(["phantoms:80"], SplitSettings(), tmp_path)
    assert len(prepared.manifest.entries) == 80
    assert len(np.unique(prepared.groups)) >= 76
    assert {entry.source for entry in prepared.manifest.entries} == {"phantoms"}
    assert all(len(np.unique(prepared.labels(prepared.indices(part)))) == 4 for part in ("train", "validation", "test"))


def test_materialise_writes_once_even_with_several_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        first, second = pool.starmap(materialise, [("phantoms:40:7", tmp_path)] * 2)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == [first.name], "nothing temporary is left"
    stamps = {path: path.stat().st_mtime_ns for path in first.rglob("*.jpg")}
    assert len(stamps) == 40
    assert materialise("phantoms:40:7", tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.jpg")} == stamps
    assert materialise("phantoms:40:8", tmp_path) != first


@pytest.mark.parametrize(
    "spec",
    [
        "phantoms:",
        "phantoms:x",
        "phantoms:3",
        "phantoms:40:-1",
        "phantoms:40:1:2",
        "phantoms:99999999999",
        "phantoms:٤٠",
        f"phantoms:4{'0' * 5000}",
    ],
)
def test_a_wrong_specification_is_one_line(spec, tmp_path):
    with pytest.raises(DataError, match="phantoms:N") as caught:
        materialise(spec, tmp_path)
    assert spec[:60] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be writable"):
        materialise("phantoms:8", tmp_path / "file")
    with pytest.raises(DataError, match="must be writable"):
        write_dataset(tmp_path / "file", 4, 0, 32)


@pytest.mark.parametrize(("call", "code"), [("phantom.replacing", errno.ENOSPC), ("phantom.Path.is_dir", errno.EACCES)])
def test_a_cache_that_is_full_or_closed_is_what_the_message_names(tmp_path, monkeypatch, call, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(f"tumorcls.data.{call}", fail)
    with pytest.raises(DataError) as caught:
        materialise("phantoms:8", tmp_path / "cache")
    assert str(caught.value) == (
        f"{tmp_path / 'cache'}: the cache must be writable and have room; {os.strerror(code)}. "
        "Free some space, or name another folder in TUMORCLS_CACHE."
    )


def test_a_file_where_the_folder_belongs_is_one_line_and_leaves_nothing_behind(tmp_path):
    folder = materialise("phantoms:4", tmp_path)
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(DataError, match="must be free for generated images; got a file"):
        materialise("phantoms:4", tmp_path)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_command_writes_a_folder(tmp_path):
    done = CliRunner().invoke(command, [str(tmp_path / "out"), "--images", "8", "--size", "48"])
    assert done.exit_code == 0
    assert "not scans of people" in done.output
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 8
    done = CliRunner().invoke(command, [str(tmp_path / "twice"), "--images", "8", "--size", "48", "--copies", "3"])
    assert "Wrote 8 images and 3 copies of them to " in done.output
    assert len(list((tmp_path / "twice").rglob("*.jpg"))) == 11
