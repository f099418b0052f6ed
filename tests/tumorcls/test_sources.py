from pathlib import Path

import pytest

from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls.errors import DataError
from tumorcls.sources import LAYOUTS, UNTYPED_TUMOR, find_source


def folder_of(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        write(root / name / f"{i}.png", blob(i, 16))
    return root


def test_sartaj_and_nickparvar_are_told_apart(tmp_path: Path) -> None:
    sartaj = find_source(kaggle_folder(tmp_path / "a", 1, sartaj=True))
    other = find_source(kaggle_folder(tmp_path / "b", 1))
    assert (sartaj.name, other.name) == ("sartaj", "nickparvar")
    for source in (sartaj, other):
        rows = source.rows()
        assert [row.label for row in rows] == ["glioma", "meningioma", "no_tumor", "pituitary"] * 2
        assert [row.official_split for row in rows] == ["test"] * 4 + ["train"] * 4
        assert {row.source for row in rows} == {source.name}


def test_one_of_the_two_split_folders_is_enough(tmp_path: Path) -> None:
    rows = find_source(folder_of(tmp_path, "Training/glioma", "Training/notumor")).rows()
    assert {row.official_split for row in rows} == {"train"}


def test_br35h_gives_no_tumour_and_untyped_tumour(tmp_path: Path) -> None:
    source = find_source(folder_of(tmp_path, "yes", "no", "pred"))
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
