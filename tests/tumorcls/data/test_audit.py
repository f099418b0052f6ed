from dataclasses import replace
from pathlib import Path

import numpy as np
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
    assert report.twins == (Twins("set", test=20, same_file=1, same_pixels=1, same_picture=2),)


def test_a_twin_may_be_in_what_another_set_gives_to_training(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 3), kaggle_folder(tmp_path / "b", 3, sartaj=True, seed=1)
    write(b / "Training" / "no_tumor" / "copy.png", colour(blob(12)))  # of a/Testing/glioma/image (0).png
    report = audit(prepare([a, b], SETTINGS, tmp_path / "c"), SETTINGS)
    assert report.twins == (
        Twins("a", test=12, same_file=0, same_pixels=1, same_picture=1),
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


def figures(report: Audit) -> dict[str, tuple[str, str]]:
    """Returns each row of the overview, with what it is marked as."""
    overview = report.tables()[0]
    return {what: (figure, kind) for (what, figure), kind in zip(overview.rows, overview.kinds, strict=True)}


def test_copies_that_are_as_bad_in_two_classes_are_no_conflict_of_a_binary_study(data: PreparedData) -> None:
    assert audit(data, SETTINGS.model_copy(update={"binary": True})).conflicts == ()


def test_the_overview_counts_what_is_wrong_and_marks_it(data: PreparedData, report: Audit) -> None:
    assert figures(report)["different pictures"] == ("40", "")
    assert figures(report)["groups with conflicting labels"] == ("1", "bad")
    assert figures(report)["groups on both sides of this split"] == ("0", "good")
    together = np.flatnonzero(data.groups == next(group for group in data.groups if (data.groups == group).sum() > 1))
    parts = data.parts.copy()
    parts[together[:2]] = ("train", "test")
    straddling = audit(replace(data, parts=parts), SETTINGS)
    assert figures(straddling)["groups on both sides of this split"] == ("1", "bad")
    leak = "test images with a copy in training, random split"
    assert report.tables()[0].note.startswith(f"This split keeps copies apart; in a random one {report.naive_leak:.1%} of the")
    assert report.tables()[0].note.endswith(" To look at: unreadable files (1), groups with conflicting labels (1).")
    assert straddling.tables()[0].note.startswith("This split leaks: 1 group on both sides of it; ")
    for share, row in ((0.0004, ("0.0%", "good")), (0.0006, ("0.1%", "bad"))):
        assert figures(replace(report, naive_leak=share))[leak] == row


def test_the_largest_groups_are_named(data: PreparedData) -> None:
    images = np.repeat(np.arange(16), [1] * 9 + [2, 3, 4, 5, 6, 7, 8])
    assert audit(replace(data, copies=replace(data.copies, images=images)), SETTINGS).largest == (8, 7, 6, 5, 4)


def test_pictures_that_several_sources_have_are_counted(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 3), kaggle_folder(tmp_path / "b", 3, sartaj=True, seed=1)
    for number in range(3):
        write(b / "Training" / "no_tumor" / f"{number}.jpg", colour(blob(number)), 60)  # of a/Training/glioma
    assert audit(prepare([a, b], SETTINGS, tmp_path / "c"), SETTINGS).across_sources == 3


@pytest.mark.parametrize(
    ("settings", "chosen_by"),
    [
        ({"seed": 3}, lambda draw: (draw < 0.2, draw >= 0.4)),
        ({"seed": 4}, lambda draw: (draw < 0.2, draw >= 0.4)),
        ({"test": 0.0, "validation": 0.3}, lambda draw: (draw < 0.3, draw >= 0.3)),
        ({"test": 0.1, "validation": 0.7}, lambda draw: (draw < 0.1, draw >= 0.8)),
    ],
)
def test_what_a_random_split_would_leak_is_counted_by_hand(data: PreparedData, settings, chosen_by) -> None:
    images = np.arange(44) // 2  # each picture twice
    split = SETTINGS.model_copy(update=settings)
    test, train = chosen_by(np.random.default_rng(split.seed).random(44))
    leaked = [group in images[train] for group in images[test]]
    found = audit(replace(data, copies=replace(data.copies, images=images)), split).naive_leak
    assert found == pytest.approx(np.mean(leaked))
    assert audit(replace(data, copies=replace(data.copies, images=np.arange(44))), split).naive_leak == 0


def test_a_class_that_comes_from_one_source_is_named_with_its_share(report: Audit) -> None:
    counts = {("a", "glioma"): 30, ("b", "glioma"): 10, ("a", "no_tumor"): 25, ("b", "no_tumor"): 35}
    told = words_of(replace(report, counts=counts, association=0.3))
    assert "75% of glioma comes from a: a model can learn the source in place of the class." in told
    assert "learn the source" in words_of(replace(report, counts=counts, association=0.1))
    assert "learn the source" not in words_of(replace(report, counts=counts, association=0.099))


def test_nobody_is_no_patient(data: PreparedData) -> None:
    first, second, *others = data.manifest.entries
    named = (replace(first, patient="A"), replace(second, patient="B"), *others)
    assert audit(replace(data, manifest=replace(data.manifest, entries=named)), SETTINGS).patients == 2


def test_what_a_random_split_would_leak_counts_patients_where_it_is_known_whose_slices_they_are(tmp_path: Path) -> None:
    """No picture has a copy, but each of 12 persons has four slices: hardly a test image is of a person that training lacks."""
    label = ("glioma", "meningioma", "no_tumor", "pituitary")
    lines = ["path,label,patient"]
    for i in range(48):
        lines.append(f"{write(tmp_path / f'{i}.png', blob(i)).name},{label[i // 4 % 4]},{f'P{i // 4}' if i < 44 else ''}")
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    data = prepare([tmp_path / "mine.csv"], SETTINGS, tmp_path / "cache")
    report = audit(data, SETTINGS)
    assert report.pictures.extra == 0
    share, kind = figures(report)["test images with a copy or another slice of their patient in training, random split"]
    draw = np.random.default_rng(SETTINGS.seed).random(48)
    trained = set(data.groups[draw >= 0.4].tolist())
    assert share == f"{np.mean([group in trained for group in data.groups[draw < 0.2].tolist()]):.1%}"
    assert report.naive_leak > 0.5
    assert kind == "bad"
    assert figures(report)["patients named"] == ("11", "")
    assert figures(report)["images without a patient"] == ("4", "bad")


def test_slices_of_a_volume_that_names_nobody_are_of_one_patient(data: PreparedData) -> None:
    entries = tuple(replace(entry, volume=str(i // 4)) for i, entry in enumerate(data.manifest.entries))
    several = replace(data, manifest=replace(data.manifest, entries=entries), groups=np.arange(44) // 4)
    assert audit(several, SETTINGS).naive_leak > 0.5
    assert figures(audit(several, SETTINGS))["patients named"] == ("0", "")
    one_each = tuple(replace(entry, volume=str(i)) for i, entry in enumerate(data.manifest.entries))
    assert "patient" not in words_of(audit(replace(data, manifest=replace(data.manifest, entries=one_each)), SETTINGS))
