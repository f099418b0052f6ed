from dataclasses import replace
from pathlib import Path

import pytest

from tests.tumorcls.pictures import blob, colour, kaggle_folder, write
from tumorcls.data.audit import Audit, Copies, audit
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.data.split import SplitSettings
from tumorcls.data.twins import Twins

SETTINGS = SplitSettings(validation=0.2, test=0.2)


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    root = kaggle_folder(tmp_path / "set", 5)
    train = root / "Training"
    (train / "glioma" / "file.png").write_bytes((root / "Testing" / "glioma" / "image (0).png").read_bytes())
    write(train / "glioma" / "pixels.png", colour(blob(20)))  # of Testing/glioma/image (0).png
    write(train / "notumor" / "near.jpg", blob(30), 50)  # of Testing/notumor/image (0).png
    write(train / "meningioma" / "conflict.jpg", blob(15), 50)  # of Training/pituitary/image (0).png
    (train / "glioma" / "broken.jpg").write_bytes(b"")
    return prepare([root], SETTINGS, tmp_path / "cache")


@pytest.fixture
def report(data: PreparedData) -> Audit:
    return audit(data, SETTINGS)


def test_copies_are_counted_by_kind(report: Audit) -> None:
    assert report.images == 44
    assert report.files == Copies(sets=1, images=2, extra=1)
    assert report.pixels == Copies(sets=1, images=3, extra=2)
    assert report.pictures == Copies(sets=3, images=7, extra=4)
    assert report.largest == (3, 2, 2)


def test_twins_across_the_official_split(report: Audit) -> None:
    assert report.twins == (Twins("nickparvar", test=20, same_file=1, same_pixels=1, same_picture=2),)


def test_a_twin_may_be_in_what_another_set_gives_to_training(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 3), kaggle_folder(tmp_path / "b", 3, sartaj=True, seed=1)
    write(b / "Training" / "no_tumor" / "copy.png", colour(blob(12)))  # of a/Testing/glioma/image (0).png
    report = audit(prepare([a, b], SETTINGS, tmp_path / "c"), SETTINGS)
    assert report.twins == (
        Twins("nickparvar", test=12, same_file=0, same_pixels=1, same_picture=1),
        Twins("sartaj", test=12, same_file=0, same_pixels=0, same_picture=0),
    )


def test_conflicts_name_labels_and_members(report: Audit, data: PreparedData) -> None:
    (conflict,) = report.conflicts
    assert conflict.labels == ("meningioma", "pituitary")
    assert [data.manifest.entries[i].name for i in conflict.members] == [
        "Training/meningioma/conflict.jpg",
        "Training/pituitary/image (0).png",
    ]


def test_counts_add_up(report: Audit) -> None:
    for counts in (report.counts, report.parts, report.sizes):
        assert sum(counts.values()) == report.images
    assert report.straddling == 0
    assert len(report.unreadable) == 1


def test_class_and_source_are_confounded(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path / "one" / "glioma" / f"{i}.png", blob(i))
        write(tmp_path / "two" / "no" / f"{i}.png", blob(100 + i))
    report = audit(prepare([tmp_path / "one", tmp_path / "two"], SETTINGS, tmp_path / "c"), SETTINGS)
    assert report.association == pytest.approx(1)


def test_independent_class_and_source_are_not(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 3), kaggle_folder(tmp_path / "b", 3, sartaj=True, seed=1)
    report = audit(prepare([a, b], SETTINGS, tmp_path / "c"), SETTINGS)
    assert report.association == pytest.approx(0)


def words_of(report: Audit) -> str:
    return "\n".join(f"{table.note} {table.rows}" for table in report.tables())


def test_one_source_cannot_be_learned_in_place_of_a_class(report: Audit) -> None:
    assert "learn the source" not in words_of(report)
    assert "All images come from one source." in words_of(report)


def test_sources_that_tell_nothing_of_the_class_are_not_blamed(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 3), kaggle_folder(tmp_path / "b", 3, sartaj=True, seed=1)
    told = words_of(audit(prepare([a, b], SETTINGS, tmp_path / "c"), SETTINGS))
    assert "Cramér's V between class and source is 0.00" in told
    assert "learn the source" not in told


def test_persons_are_spoken_of_where_a_set_names_them(data: PreparedData, report: Audit) -> None:
    assert "patient" not in words_of(report)
    assert "Copies stay on one side: no group straddles." in words_of(report)
    named = [replace(entry, patient=str(i)) for i, entry in enumerate(data.manifest.entries)]
    told = audit(replace(data, manifest=replace(data.manifest, entries=tuple(named))), SETTINGS)
    assert "Copies and slices of one patient stay on one side" in words_of(told)


def test_twins_across_a_split_that_a_table_gives_are_counted_and_listed(tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for i in range(12):
        lines.append(f"{write(tmp_path / f'{i}.png', blob(i)).name},glioma,{('train', 'validation', 'test')[i % 3]}")
    (tmp_path / "file.png").write_bytes((tmp_path / "2.png").read_bytes())
    write(tmp_path / "pixels.png", colour(blob(1)))
    write(tmp_path / "near.jpg", blob(4), 50)
    lines += ["file.png,glioma,validation", "pixels.png,glioma,train", "near.jpg,glioma,test"]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    data = prepare([tmp_path / "mine.csv"], SETTINGS, tmp_path / "cache")
    report = audit(data, SETTINGS)
    assert report.twins == (
        Twins("mine", test=5, same_file=1, same_pixels=1, same_picture=2),
        Twins("mine", test=5, same_file=0, same_pixels=1, same_picture=1, part="validation"),
    )
    assert set(report.twin_files) == {
        ("mine/2.png", "test", "mine/file.png", "validation", "same file"),
        ("mine/1.png", "validation", "mine/pixels.png", "train", "same pixels"),
        ("mine/near.jpg", "test", "mine/4.png", "validation", "same picture"),
    }
    assert report.moved_out == 3
    assert report.straddling == 0
    assert "Left out for a copy, or their patient, in a part that is given: 3 images." in words_of(report)
