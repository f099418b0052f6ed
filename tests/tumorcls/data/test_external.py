import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.tumorcls.pictures import blob, kaggle_folder, write
from tests.tumorcls.volume_files import write_nifti
from tumorcls.data.external import find_seen, leave_out, other_data, own_data
from tumorcls.data.manifest import scan
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.data.sources import find_source
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError

SPLIT = SplitSettings(validation=0.2, test=0.2)


@pytest.fixture
def own(tmp_path: Path) -> PreparedData:
    return prepare([kaggle_folder(tmp_path / "own", 5)], SPLIT, tmp_path / "cache")


def files_of(own: PreparedData, part: str) -> list[Path]:
    return [own.manifest.entries[i].path for i in own.indices(part)]


def smooth(seed: int) -> np.ndarray:
    """Draws what JPEG leaves so little of that its copies are not joined, but only plainly alike."""
    values = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (96, 96)), (0, 0), 24)
    return np.interp(values, (values.min(), values.max()), (40, 210)).astype(np.uint8)


def test_copies_of_what_was_learned_from_are_left_out_and_copies_of_the_test_part_are_not(
    own: PreparedData, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for part in ("train", "validation", "test"):
        for number, path in enumerate(files_of(own, part)[:3]):
            write(other / "no" / f"{part} {number}.jpg", np.asarray(Image.open(path))[:, ::-1], 60)  # mirrored, and lossy
    write(other / "glioma" / "new.png", blob(900))
    found = find_seen(own, scan([other], tmp_path / "cache"), SPLIT, tmp_path / "cache")
    seen = {entry.path.stem for entry, is_seen in zip(found.manifest.entries, found.seen_picture, strict=True) if is_seen}
    assert seen == {f"{part} {number}" for part in ("train", "validation") for number in range(3)}
    assert not found.seen_patient.any()
    new = found.images(found.new, 32, tmp_path / "cache")
    assert sorted(new.names) == ["other/glioma/new.png", *(f"other/no/test {number}.jpg" for number in range(3))]
    assert new.class_counts() == {"glioma": 1, "meningioma": 0, "no_tumor": 3, "pituitary": 0}


def test_other_pictures_of_a_patient_who_was_learned_from_are_left_out(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.png", blob(i))
    header = "path,label,patient,split\n"
    (tmp_path / "own.csv").write_text(header + "".join(f"{i}.png,no,{i},{'train' if i else 'test'}\n" for i in range(6)))
    (tmp_path / "other.csv").write_text(header + "6.png,no,0,\n7.png,no,3,\n8.png,no,8,\n9.png,no,9,left_out\n3.png,no,3,\n")
    split = SplitSettings(validation=0.2, test=0.2)
    own = prepare([tmp_path / "own.csv"], split, tmp_path / "cache")
    found = find_seen(own, scan([tmp_path / "other.csv"], tmp_path / "cache"), split, tmp_path / "cache")
    names = [entry.name for entry in found.manifest.entries]
    assert {name for name, seen in zip(names, found.seen_patient, strict=True) if seen} == {"7.png"}
    assert {name for name, seen in zip(names, found.seen_picture, strict=True) if seen} == {"3.png"}
    assert {name for name, new in zip(names, found.new, strict=True) if new} == {"6.png", "8.png"}


@pytest.mark.parametrize("picture", ["copied", "plainly alike"])
@pytest.mark.parametrize("named", ["patient", "volume"])
def test_whose_picture_was_learned_from_is_known_where_the_other_data_alone_names_them(
    tmp_path: Path, picture: str, named: str
) -> None:
    """Class folders name nobody. Where they hold one slice of a patient, no other slice of theirs is new."""
    cache, other = tmp_path / "cache", tmp_path / "other"
    draw = blob if picture == "copied" else smooth
    for number in range(6):
        write(tmp_path / "own" / "no" / f"{number}.png", draw(number))
    own = prepare([tmp_path / "own"], SPLIT, cache)
    twin = np.asarray(Image.open(write(tmp_path / "twin.jpg", draw(int(files_of(own, "train")[0].stem)), 10)))
    stranger = write(other / "no" / "stranger.png", blob(902))
    if named == "volume":
        write_nifti(other / "no" / "theirs.nii", np.stack([twin, blob(901)]))
        found = find_seen(own, scan([other], cache, "all"), SPLIT, cache)
    else:
        write(other / "twin.png", twin)
        write(other / "another.png", blob(901))
        (other / "table.csv").write_text("path,label,patient\ntwin.png,no,Q\nanother.png,no,Q\nno/stranger.png,no,R\n")
        found = find_seen(own, scan([other / "table.csv"], cache), SPLIT, cache)
    assert (found.seen_picture.sum(), found.seen_patient.sum(), found.new.sum()) == (1, 1, 1)
    assert [found.manifest.entries[i].path for i in np.flatnonzero(found.new)] == [stranger]
    assert (found.groups[found.seen_picture] < len(own.manifest.entries)).all() == (picture == "copied")


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_what_is_plainly_alike_is_so_however_it_is_turned(tmp_path: Path, turns: int, mirrored: bool) -> None:
    split, cache = SPLIT.model_copy(update={"quarter_turns": True}), tmp_path / "cache"
    for number in range(6):
        write(tmp_path / "own" / "no" / f"{number}.png", smooth(number))
    own = prepare([tmp_path / "own"], split, cache)
    picture = np.rot90(smooth(int(files_of(own, "train")[0].stem)), turns)
    write(tmp_path / "other" / "no" / "a.jpg", picture[:, :: -1 if mirrored else 1].copy(), 10)
    found = find_seen(own, scan([tmp_path / "other"], cache), split, cache)
    assert found.seen_picture.tolist() == [True]
    assert found.groups.tolist() == [len(own.manifest.entries)]


def test_a_tumour_of_unknown_type_is_for_binary_models(own: PreparedData, tmp_path: Path) -> None:
    for number, name in enumerate(("yes", "no")):
        write(tmp_path / "other" / name / "a.png", blob(900 + number))
    other = scan([tmp_path / "other"], tmp_path / "cache")
    assert find_seen(own, other, SPLIT, tmp_path / "cache").usable.sum() == 1
    assert find_seen(own, other, SplitSettings(binary=True), tmp_path / "cache").usable.sum() == 2


def test_of_many_images_each_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumorcls.data.external._CHUNK", 2)
    cache = tmp_path / "cache"
    for number in range(6):
        write(tmp_path / "own" / "no" / f"{number}.png", smooth(number))
    own = prepare([tmp_path / "own"], SPLIT, cache)
    twin = smooth(int(files_of(own, "train")[0].stem))
    for number in range(4):
        write(tmp_path / "other" / "no" / f"{number} new.png", blob(900 + number))
        write(tmp_path / "other" / "no" / f"{number} seen.jpg", twin, 10 + number)
    found = find_seen(own, scan([tmp_path / "other"], cache), SPLIT, cache)
    assert [entry.path.stem.endswith("seen") for entry in found.manifest.entries] == found.seen_picture.tolist()


def test_of_volumes_the_same_slices_are_compared_as_were_trained_with(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number in range(6):
        write_nifti(tmp_path / "own" / "no" / f"{number}.nii", np.stack([blob(10 * number + i) for i in range(4)]))
    own = prepare([tmp_path / "own"], SPLIT, cache, "all")
    assert len(own.parts) == 24
    assert own_data([tmp_path / "own"], own.split_sha256, SPLIT, cache, "all").split_sha256 == own.split_sha256
    assert other_data([tmp_path / "own"], own.manifest.sha256, cache, "all") is None


def test_new_images_of_one_patient_are_one_group(own: PreparedData, tmp_path: Path) -> None:
    """They are right or wrong together, which intervals know."""
    for number in range(3):
        write(tmp_path / f"{number}.png", blob(900 + number))
    (tmp_path / "other.csv").write_text("path,label,patient\n0.png,no,Q\n1.png,no,R\n2.png,no,Q\n")
    found = find_seen(own, scan([tmp_path / "other.csv"], tmp_path / "cache"), SPLIT, tmp_path / "cache")
    images = found.images(found.new, 32, tmp_path / "cache")
    group = dict(zip(images.names, images.groups.tolist(), strict=True))
    assert group["other/0.png"] == group["other/2.png"] != group["other/1.png"]


def test_a_source_that_is_left_out_stands_beside_all_others_which_need_no_test_part(tmp_path: Path) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    write(other / "glioma" / "copy.jpg", blob(0), 60)  # of Training/glioma/image (0).png
    write(other / "no" / "new.png", blob(900))
    manifest = scan([kaggle_folder(tmp_path / "own", 3), other], cache)
    split = SplitSettings(validation=0.25, test=0.25, official_test=True)
    found = leave_out(manifest, "other", split, cache)
    assert [entry.name for entry, new in zip(found.manifest.entries, found.new, strict=True) if new] == ["no/new.png"]
    assert {entry.source for entry in found.manifest.entries} == {"other"}
    assert {entry.source for entry in found.training.manifest.entries} == {"own"}
    assert set(found.training.parts.tolist()) == {"train", "validation"}
    assert len(found.training.parts) == 24


def test_nothing_new_is_one_line(own: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "other" / "no").mkdir(parents=True)
    shutil.copy(files_of(own, "train")[0], tmp_path / "other" / "no")
    found = find_seen(own, scan([tmp_path / "other"], tmp_path / "cache"), SPLIT, tmp_path / "cache")
    with pytest.raises(DataError, match="new to the model; got 1 images, of which it may have seen 1"):
        found.images(found.new, 32, tmp_path / "cache")


def test_a_models_own_data_must_be_there_as_it_was(own: PreparedData, tmp_path: Path) -> None:
    folder, cache = tmp_path / "own", tmp_path / "cache"
    assert own_data([folder], own.split_sha256, SPLIT, cache).split_sha256 == own.split_sha256
    assert other_data([folder], own.manifest.sha256, cache) is None
    next((folder / "Training" / "glioma").iterdir()).unlink()
    with pytest.raises(DataError, match=r"must be there as it was; got another split .* with --trained-on"):
        own_data([folder], own.split_sha256, SPLIT, cache)
    with pytest.raises(DataError, match=r"must be there; .* a data folder must exist.* with --trained-on"):
        own_data([tmp_path / "gone"], own.split_sha256, SPLIT, cache)


def every_sixth(folder: Path, table: Path) -> Path:
    """Writes a table of every sixth image of a data set."""
    rows = sorted(find_source(folder).rows(), key=lambda row: row.path.name)[::6]
    table.write_text("path,label\n" + "".join(f'"{row.path}",{row.label}\n' for row in rows))
    return table


@pytest.mark.slow
def test_twins_of_two_real_sets_are_what_independent_counts_find(public_sets: dict[str, Path], tmp_path: Path) -> None:
    """By the groups of a scan of both sets together, and by all pairs of small pictures that Pillow makes, mirrored too."""
    cache = tmp_path / "cache"
    trained, other = (every_sixth(public_sets[name], tmp_path / f"{name}.csv") for name in ("nickparvar", "sartaj"))
    own = prepare([trained], SplitSettings(), cache)
    found = find_seen(own, scan([other], cache), SplitSettings(), cache)
    seen = {entry.path for entry, is_seen in zip(found.manifest.entries, found.seen_picture, strict=True) if is_seen}
    learned = {path for part in ("train", "validation") for path in files_of(own, part)}
    both = prepare([other, trained], SplitSettings(), cache)
    groups = {both.copies.images[i] for i, entry in enumerate(both.manifest.entries) if entry.path in learned}
    members = zip(both.manifest.entries, both.copies.images.tolist(), strict=True)
    joined = {entry.path for entry, group in members if group in groups and entry.source == "sartaj"}

    def small(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").resize((24, 24), Image.Resampling.BOX), np.float64)

    known = np.array([small(path) for path in sorted(learned)]).reshape(len(learned), -1)
    best = {}
    for entry in found.manifest.entries:
        picture = small(entry.path)
        ways = [picture[::down, ::across].ravel() for down in (1, -1) for across in (1, -1)]
        best[entry.path] = np.corrcoef(np.array(ways), known)[: len(ways), len(ways) :].max()
    assert joined | {path for path, likeness in best.items() if likeness >= 0.99} <= seen
    assert seen <= joined | {path for path, likeness in best.items() if likeness >= 0.97}
    assert len(seen) > 100
