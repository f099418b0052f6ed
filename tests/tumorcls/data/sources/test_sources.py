import errno
import os
from pathlib import Path

import pytest

from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls.data.labels import LABELS, OTHER_LABELS, UNTYPED_TUMOR
from tumorcls.data.sources import LAYOUTS, find_source, open_source
from tumorcls.data.sources.base import describe
from tumorcls.errors import DataError, UnknownLayoutError


def folder_of(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        write(root / name / f"{i}.png", blob(i, 16))
    return root


def test_sartaj_and_nickparvar_are_told_apart(tmp_path: Path) -> None:
    sartaj = find_source(kaggle_folder(tmp_path / "a", 1, sartaj=True))
    kaggle_folder(tmp_path / "b", 1)
    for split in ("Training", "Testing"):
        for number, folder in enumerate(sorted((tmp_path / "b" / split).iterdir())):
            [image] = folder.iterdir()
            image.rename(folder / f"{'Tr' if split == 'Training' else 'Te'}-{folder.name[:2]}_{number:04d}.png")
    other = find_source(tmp_path / "b")
    assert (sartaj.name, other.name) == ("sartaj", "nickparvar")
    for source in (sartaj, other):
        rows = source.rows()
        assert [row.label for row in rows] == ["glioma", "meningioma", "no_tumor", "pituitary"] * 2
        assert [row.official_split for row in rows] == ["test"] * 4 + ["train"] * 4
        assert {row.source for row in rows} == {source.name}


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("nickparvar", ("train/glioma", "train/no_tumor", "test/glioma")),
        ("sartaj", ("Training/glioma_tumor", "Testing/no_tumor")),
        ("br35h", ("yes", "no")),
    ],
)
def test_a_folder_that_only_lies_as_a_public_set_is_named_after_itself(
    tmp_path: Path, layout: str, names: tuple[str, ...]
) -> None:
    """A hospital's own: what is said of the public set is not so of it. Manifest and split go by the layout, as they did."""
    source = find_source(folder_of(tmp_path / "ward 3", *names))
    assert (source.name, source.layout.name) == ("ward 3", layout)
    assert {row.source for row in source.rows()} == {"ward 3"}


def test_one_of_the_two_split_folders_is_enough(tmp_path: Path) -> None:
    rows = find_source(folder_of(tmp_path, "Training/glioma", "Training/notumor")).rows()
    assert {row.official_split for row in rows} == {"train"}


def test_br35h_gives_no_tumour_and_untyped_tumour(tmp_path: Path) -> None:
    folder_of(tmp_path, "yes", "no", "pred")
    (tmp_path / "yes" / "0.png").rename(tmp_path / "yes" / "y0.png")
    (tmp_path / "no" / "1.png").rename(tmp_path / "no" / "no1.png")
    source = find_source(tmp_path)
    assert source.name == "br35h"
    assert [(row.label, row.official_split) for row in source.rows()] == [("no_tumor", None), (UNTYPED_TUMOR, None)]


def test_a_plain_folder_is_named_after_itself_and_labelled_by_aliases(tmp_path: Path) -> None:
    source = find_source(folder_of(tmp_path / "mine", "Pituitary Tumour", "GLIOMA", "healthy"))
    assert source.name == "mine"
    assert {row.path.parent.name: row.label for row in source.rows()} == {
        "Pituitary Tumour": "pituitary",
        "GLIOMA": "glioma",
        "healthy": "no_tumor",
    }


@pytest.mark.parametrize("name", ["tumor", "Tumour", "01 TUMOR"])
@pytest.mark.parametrize("above", [".", "train"])
def test_a_tumour_of_another_type_has_a_folder_as_it_has_a_row_of_a_table(tmp_path: Path, name: str, above: str) -> None:
    source = find_source(folder_of(tmp_path, f"{above}/{name}", f"{above}/normal"))
    assert {row.path.parent.name: row.label for row in source.rows()} == {name: UNTYPED_TUMOR, "normal": "no_tumor"}


def test_whoever_has_another_class_reads_what_becomes_of_it(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "metastasis", "normal")
    (tmp_path / "images.csv").write_text("path,label\nmetastasis/0.png,metastasis\n")
    for data in (root, root / "images.csv"):
        with pytest.raises(DataError, match=f"one of {LABELS}; got 'metastasis'") as caught:
            open_source(data, tmp_path / "cache").rows()
        assert str(caught.value).endswith(OTHER_LABELS)


def test_figshare_is_found_by_its_files(tmp_path: Path) -> None:
    for name in ("brainTumorDataPublic_1-766/1.mat", "brainTumorDataPublic_767-1532/900.mat", "cvind.mat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    source = find_source(tmp_path)
    assert source.name == "figshare"
    assert [row.path.name for row in source.rows()] == ["1.mat", "900.mat"]


def test_rows_do_not_follow_the_order_of_the_disk(tmp_path: Path) -> None:
    rows = find_source(folder_of(tmp_path, "pituitary", "glioma", "no", "meningioma")).rows()
    assert [row.label for row in rows] == ["glioma", "meningioma", "no_tumor", "pituitary"]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    folder_of(tmp_path, "glioma", "no")
    for name in ("glioma/notes.txt", "glioma/.hidden.png", "no/Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    assert len(find_source(tmp_path).rows()) == 2


def left_out(root: Path) -> dict[tuple[str, str], int]:
    return {(one.folder, one.suffix): one.count for one in find_source(root).listing()[1]}


def test_what_is_passed_over_is_counted_by_folder_and_suffix(tmp_path: Path) -> None:
    folder_of(tmp_path, "glioma", "no")
    for name in ("glioma/notes.txt", "glioma/more.txt", "no/scan.MGZ", "README", "glioma/._0.png", ".DS_Store", ".old.png"):
        (tmp_path / name).write_bytes(b"x")
    folder_of(tmp_path / "glioma" / "patient 1", "a/b", ".")
    folder_of(tmp_path / ".trash can", "glioma")
    folder_of(tmp_path / "__MACOSX", "glioma")
    assert left_out(tmp_path) == {
        (".", ""): 2,  # README, and a hidden folder as one
        (".", ".png"): 1,
        ("glioma", ".txt"): 2,
        ("glioma/patient 1", ".png"): 1,
        ("glioma/patient 1/a/b", ".png"): 1,
        ("no", ".mgz"): 1,
    }
    line = describe(find_source(tmp_path).listing()[1], places=1)
    assert line.startswith("left out")
    assert "\n" not in line
    assert "8 files" in line
    assert describe(()) == ""


def test_validation_folders_are_for_training(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "train/glioma", "VALID/glioma", "val/glioma", "Validation/glioma", "test/glioma")
    rows = find_source(root).rows()
    assert [(row.path.parts[-3], row.official_split) for row in rows] == [
        ("VALID", "train"),
        ("Validation", "train"),
        ("test", "test"),
        ("train", "train"),
        ("val", "train"),
    ]


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        (("Training/glioma", "glioma"), "glioma"),
        (("Training/glioma", "holdout/glioma"), "holdout"),
        (("Training/glioma_tumor", "Testing/no_tumor", "extra"), "extra"),
        (("Training/glioma", "Training/edema"), "edema"),
        (("yes", "no", "glioma", "pituitary"), "glioma"),
        (("yes", "no", "test"), "test"),
        (("glioma", "yes"), "yes"),
        (("glioma", "images"), "images"),
    ],
)
def test_an_unknown_folder_is_refused_in_every_layout(tmp_path: Path, names: tuple[str, ...], unknown: str) -> None:
    with pytest.raises(DataError, match=f"{unknown}: a folder must be named after") as caught:
        find_source(folder_of(tmp_path, *names)).rows()
    assert "\n" not in str(caught.value)


def test_a_folder_without_slices_is_refused_beside_slices(tmp_path: Path) -> None:
    (tmp_path / "1.mat").write_bytes(b"")
    folder_of(tmp_path, "pngs")
    with pytest.raises(DataError, match="pngs: a folder must"):
        find_source(tmp_path).rows()


def test_images_are_known_by_any_usual_ending_and_without_one_by_their_beginning(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "glioma") / "glioma"
    png = (folder / "0.png").read_bytes()
    for name in ("a.JFIF", "b.Tif", "c", "IM.0001", "d.", "e.jpe"):
        (folder / name).write_bytes(png)
    for name in ("note", "x.0002", "y.txt"):
        (folder / name).write_bytes(b"no picture")
    assert {row.path.name for row in find_source(tmp_path).rows()} == {
        "0.png",
        "a.JFIF",
        "b.Tif",
        "c",
        "IM.0001",
        "d.",
        "e.jpe",
    }


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", "glioma")
    folder_of(tmp_path / "elsewhere", ".")
    (root / "pituitary").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "glioma" / "again").symlink_to(root / "glioma", target_is_directory=True)
    (root / "glioma" / "loop.png").symlink_to(root / "glioma" / "loop.png")
    (root / "glioma" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert [row.path.name for row in find_source(root).rows()] == ["0.png", "gone.png", "loop.png", "0.png"]
    assert left_out(root)[("glioma/again", ".png")] == 3


def test_an_unknown_layout_is_one_line_that_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError) as caught:
        find_source(tmp_path)
    assert all(layout.name in str(caught.value) for layout in LAYOUTS)
    assert "\n" not in str(caught.value)


def test_an_unknown_class_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="astrocytoma"):
        find_source(folder_of(tmp_path, "glioma", "astrocytoma")).rows()


def test_an_empty_class_folder_is_an_error(tmp_path: Path) -> None:
    folder_of(tmp_path, "glioma")
    (tmp_path / "pituitary").mkdir()
    with pytest.raises(DataError, match="pituitary: a class folder must hold images"):
        find_source(tmp_path).rows()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must exist"):
        find_source(tmp_path / "none")


def test_one_folder_too_high_names_those_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never says to rename what holds them; a folder that is closed to us may lie beside."""
    kaggle_folder(tmp_path / "sartaj", 1, sartaj=True)
    kaggle_folder(tmp_path / "nickpar\x1bvar", 1)
    (tmp_path / "other" / "closed").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnknownLayoutError) as caught:
        find_source(tmp_path)
    rule = "a data folder must have a known layout; got something else"
    assert str(caught.value) == f"{tmp_path}: {rule}. It holds nickpar\\x1bvar, sartaj: name those instead."
    with pytest.raises(UnknownLayoutError, match=r"brisc .*; got something else\. Name its folders so\."):
        find_source(folder_of(tmp_path / "empty", "a/b/c"))


ABOVE = "whether TUMORCLS_DATA names the folder above it (a quoted ~ is not expanded)"


@pytest.mark.parametrize(
    ("data", "folder", "remedy"),
    [
        (None, "data/sartaj", ABOVE),
        ("{here}/mri", "{here}/mri/sartaj", ABOVE),
        ("~/mri", "~/mri/sartaj", ABOVE),
        ("{here}/mri", "{here}/mri-2/sartaj", "see `tumorcls fetch --help`"),
        ("{here}/mri", "data/sartaj", "see `tumorcls fetch --help`"),
    ],
)
def test_a_missing_folder_of_studies_names_their_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str | None, folder: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUMORCLS_DATA", raising=False)
    if data is not None:
        monkeypatch.setenv("TUMORCLS_DATA", data.format(here=tmp_path))
    with pytest.raises(DataError) as caught:
        find_source(Path(folder.format(here=tmp_path)))
    assert str(caught.value).endswith(f": a data folder must exist; got none there. Check the path, or {remedy}.")
