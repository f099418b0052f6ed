import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls.data import reading
from tumorcls.data.labels import BINARY_CLASSES, CLASSES
from tumorcls.data.manifest import Manifest
from tumorcls.data.prepare import PreparedData, assign_parts, prepare, write_split_files
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError

PARTS = ("train", "validation", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty pictures in Training and eight in Testing, of which two are copies and one is labelled otherwise too."""
    root = kaggle_folder(tmp_path / "set", 10)
    for split in ("Testing",):
        for path in sorted((root / split).rglob("*.png")):
            if path.name > "image (1).png":
                path.unlink()
    write(root / "Training" / "glioma" / "twin.jpg", blob(40), 60)  # of Testing/glioma/image (0).png
    write(root / "Training" / "glioma" / "mirror.jpg", blob(0)[:, ::-1], 60)
    write(root / "Training" / "pituitary" / "conflict.jpg", blob(1), 60)  # of Training/glioma/image (1).png
    write(root / "Training" / "glioma" / "large.png", np.kron(blob(2), np.ones((2, 2), np.uint8)))
    return root


def part_of(data: PreparedData) -> dict[str, str]:
    return {entry.name: part for entry, part in zip(data.manifest.entries, data.parts.tolist(), strict=True)}


def run(folder: Path, tmp_path: Path, **settings: object) -> PreparedData:
    return prepare([folder], SplitSettings(**{"validation": 0.2, "test": 0.2, **settings}), tmp_path / "cache")


def test_copies_are_on_one_side(folder: Path, tmp_path: Path) -> None:
    for seed in range(5):
        data = run(folder, tmp_path, seed=seed)
        parts = part_of(data)
        assert parts["Training/glioma/twin.jpg"] == parts["Testing/glioma/image (0).png"]
        assert parts["Training/glioma/mirror.jpg"] == parts["Training/glioma/image (0).png"]
        for group in np.unique(data.groups):
            assert len(set(data.parts[data.groups == group].tolist())) == 1
        assert all(len(data.indices(part)) > 0 for part in PARTS)


def test_conflicting_labels_are_left_out_unless_kept(folder: Path, tmp_path: Path) -> None:
    names = ("Training/pituitary/conflict.jpg", "Training/glioma/image (1).png")
    left = part_of(run(folder, tmp_path))
    assert [left[name] for name in names] == ["left_out"] * 2
    assert list(left.values()).count("left_out") == 2
    kept = part_of(run(folder, tmp_path, conflicts="keep"))
    assert "left_out" not in kept.values()


def test_the_official_test_part_is_honoured(folder: Path, tmp_path: Path) -> None:
    data = run(folder, tmp_path, official_test=True)
    for entry, part in zip(data.manifest.entries, data.parts.tolist(), strict=True):
        assert (entry.official_split == "test") == (part == "test")
    assert part_of(data)["Training/glioma/twin.jpg"] == "left_out"
    assert data.moved_out == 1


def test_keep_best_keeps_the_largest_of_each_group(folder: Path, tmp_path: Path) -> None:
    data = run(folder, tmp_path, duplicates="keep-best")
    parts = part_of(data)
    assert parts["Training/glioma/image (2).png"] == "left_out"
    assert parts["Training/glioma/large.png"] != "left_out"
    used = data.groups[data.parts != "left_out"]
    assert len(set(used.tolist())) == len(used)


def test_drop_keeps_nothing_that_occurs_twice(folder: Path, tmp_path: Path) -> None:
    parts = part_of(run(folder, tmp_path, duplicates="drop"))
    assert {parts[f"Training/glioma/{name}"] for name in ("image (2).png", "large.png", "mirror.jpg")} == {"left_out"}
    assert parts["Training/notumor/image (0).png"] != "left_out"


def test_nothing_is_opened_when_nothing_has_changed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(folder, tmp_path)
    monkeypatch.setattr(reading, "fingerprint", None)
    second = run(folder, tmp_path)
    assert np.array_equal(first.parts, second.parts)
    assert first.split_sha256 == second.split_sha256


def test_the_hash_of_the_split_follows_its_seed(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path, seed=1).split_sha256 != run(folder, tmp_path, seed=2).split_sha256


def test_the_hash_of_the_split_is_of_images_parts_and_groups(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = run(folder, tmp_path)

    def digest(
        manifest: Manifest = data.manifest,
        parts: npt.NDArray[np.str_] = data.parts,
        groups: npt.NDArray[np.int64] = data.groups,
    ) -> str:
        monkeypatch.setattr("tumorcls.data.prepare.assign", lambda *_: (parts, 0))
        return assign_parts(manifest, replace(data.copies, split=groups), SplitSettings()).split_sha256

    assert digest() == data.split_sha256
    first, *others = data.manifest.entries
    of_somebody = replace(data.manifest, entries=(replace(first, patient="P"), *others))
    moved, joined = data.parts.copy(), data.groups.copy()
    moved[0], joined[1] = "left_out", joined[0]
    hashes = {digest(), digest(manifest=of_somebody), digest(parts=moved), digest(groups=joined)}
    assert len(hashes) == 4


@pytest.mark.parametrize(("settings", "copies"), [({}, 1), ({"flips": False}, 0), ({"quarter_turns": True}, 2)])
def test_what_counts_as_a_copy_is_what_the_settings_say(folder: Path, tmp_path: Path, settings: object, copies: int) -> None:
    write(folder / "Training" / "glioma" / "turned.jpg", np.rot90(blob(0)), 60)
    data = run(folder, tmp_path, **settings)
    groups = dict(zip((entry.name for entry in data.manifest.entries), data.groups.tolist(), strict=True))
    original = groups["Training/glioma/image (0).png"]
    assert [groups[f"Training/glioma/{name}.jpg"] == original for name in ("mirror", "turned")].count(True) == copies


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        (("glioma,train,", "glioma,left_out,P"), ["train", ""]),  # one that is used
        (("glioma,left_out,P", "glioma,train,"), ["train", ""]),
        (("glioma,train,P", "meningioma,train,"), ["train", "P"]),  # and of these one that says who is shown
        (("glioma,train,", "meningioma,train,P"), ["train", "P"]),
    ],
)
def test_of_a_file_that_two_sources_have_the_table_takes_the_row_that_says_most(
    tmp_path: Path, rows: Sequence[str], row: list[str]
) -> None:
    names = [write(tmp_path / f"{number}.png", blob(number)).name for number in range(8)]
    given = [f"{name},{CLASSES[number % 4]},{('validation', 'test')[number // 4]}," for number, name in enumerate(names)]
    write(tmp_path / "shared.png", blob(99))
    tables = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for path, lines, said in zip(tables, (given, []), rows, strict=True):
        path.write_text("\n".join(["path,label,split,patient", *lines, f"shared.png,{said}"]))
    settings = SplitSettings(conflicts="keep")
    write_split_files(prepare(tables, settings, tmp_path / "cache"), settings, tmp_path / "out")
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        written = [[line["split"], line["patient"]] for line in csv.DictReader(file) if line["path"] == "../shared.png"]
    assert written == [row]


def test_the_order_of_folders_does_not_matter(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 4), kaggle_folder(tmp_path / "b", 4, sartaj=True, seed=1)
    settings = SplitSettings(validation=0.2, test=0.2)
    first, second = (prepare(order, settings, tmp_path / "c") for order in ([a, b], [b, a]))
    assert first.split_sha256 == second.split_sha256


def test_paths_and_labels_belong_together(folder: Path, tmp_path: Path) -> None:
    data = run(folder, tmp_path)
    indices = data.indices("train")
    names = {0: "glioma", 1: "meningioma", 2: "notumor", 3: "pituitary"}
    for i, label in zip(indices, data.labels(indices).tolist(), strict=True):
        path = data.manifest.entries[i].path
        assert path.parent.name == names[label]
        assert path.exists()


def test_untyped_tumours_serve_binary_studies_only(tmp_path: Path) -> None:
    for i in range(40):
        write(tmp_path / "br35h" / ("yes" if i % 2 else "no") / f"{i}.png", blob(i))
    with_types = kaggle_folder(tmp_path / "typed", 5, seed=1)
    folders = [tmp_path / "br35h", with_types]
    four = prepare(folders, SplitSettings(validation=0.2, test=0.2), tmp_path / "c")
    for entry, part in zip(four.manifest.entries, four.parts.tolist(), strict=True):
        assert (part == "left_out") == (entry.label == "tumor")
    two = prepare(folders, SplitSettings(validation=0.2, test=0.2, binary=True), tmp_path / "c")
    assert two.classes == BINARY_CLASSES
    assert "left_out" not in two.parts
    everything = np.arange(len(two.parts))
    expected = [int(entry.label != "no_tumor") for entry in two.manifest.entries]
    assert two.labels(everything).tolist() == expected


def test_an_empty_part_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "glioma" / "a.png", blob(1))
    with pytest.raises(DataError, match="must get at least one image"):
        prepare([tmp_path / "mine"], SplitSettings(), tmp_path / "c")


@pytest.mark.parametrize("wrong", [{"validation": 1.0}, {"test": -0.1}, {"validation": 0.6, "test": 0.4}, {"sede": 1}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SplitSettings(**wrong)
