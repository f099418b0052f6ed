import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tumorcls.pictures import blob, write
from tumorcls.data.dedup.groups import find_groups
from tumorcls.data.labels import UNTYPED_TUMOR
from tumorcls.data.manifest import scan
from tumorcls.data.sources import open_source
from tumorcls.data.sources.base import Row
from tumorcls.data.sources.table import COLUMNS
from tumorcls.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures in a folder of their own, a.png to d.png."""
    for number, name in enumerate("abcd"):
        write(tmp_path / "scans" / f"{name}.png", blob(number, 32))
    return tmp_path


def rows(folder: Path, text: str, encoding: str = "utf-8") -> list[Row]:
    (folder / "images.csv").write_bytes(text.encode(encoding, "surrogateescape"))
    return open_source(folder / "images.csv", folder / "cache").rows()


def refusal(folder: Path, *lines: str) -> str:
    with pytest.raises(DataError) as caught:
        rows(folder, "\n".join(lines))
    message = str(caught.value)
    assert message.startswith(f"{folder}/images.csv: ")
    assert "\n" not in message
    return message.removeprefix(f"{folder}/images.csv: ")


def test_a_row_says_what_its_image_is(folder: Path) -> None:
    found = rows(
        folder,
        "path,label,patient,split,source\n"
        "scans/a.png,Glioma Tumour,7,training,ward\n"
        f"{folder}/scans/b.png,healthy,,VAL,\n"
        "scans/c.png,tumour,8,left_out,\n"
        "scans/d.png,pituitary,9,,ward\n",
    )
    scans = folder / "scans"
    assert found == [
        Row(scans / "a.png", "glioma", "ward", "train", "7"),
        Row(scans / "b.png", "no_tumor", "images", "validation", None),
        Row(scans / "c.png", UNTYPED_TUMOR, "images", "left_out", "8"),
        Row(scans / "d.png", "pituitary", "ward", None, "9"),
    ]


def test_path_and_label_are_enough_and_other_columns_are_not_looked_at(folder: Path) -> None:
    found = rows(folder, "age,Label,PATH\n50,glioma,scans/a.png\n,no,scans/b.png\n\n,,\n")
    assert [(row.path.name, row.label, row.official_split, row.patient) for row in found] == [
        ("a.png", "glioma", None, None),
        ("b.png", "no_tumor", None, None),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(folder: Path, delimiter: str, end: str) -> None:
    lines = [("path", "label"), ("scans/a.png", "glioma"), ("scans/b.png", "no tumor")]
    found = rows(folder, end.join(delimiter.join(line) for line in lines), "utf-8-sig")
    assert [row.label for row in found] == ["glioma", "no_tumor"]


def test_names_that_need_quotes_or_are_no_utf8_lead_to_their_files(folder: Path) -> None:
    names = ["a, b.png", 'say "x".png', "two\nlines.png", " blank.png", os.fsdecode(b"caf\xe9.png")]
    for number, name in enumerate(names):
        (folder / name).write_bytes((folder / "scans" / f"{'abcd'[number % 4]}.png").read_bytes())
    quoted = [name.replace('"', '""') for name in names]
    found = rows(folder, "path,label\n" + "".join(f'"{name}",glioma\n' for name in quoted))
    assert sorted(row.path.name for row in found) == sorted(names)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["scans/a.png,no", "gone/x.png,no", "y.png,no"], "rows 3, 4: path must be a file that is there; got 'gone/x.png'."),
        (["scans/a.png,astrocytoma"], "row 2: label must be one of glioma, meningioma, no_tumor, pituitary, tumor; got 'astro"),
        (["scans/a.png,"], "row 2: label must be one of"),
        ([",glioma"], "row 2: path must be given; got ''"),
        (["x\0.png,glioma"], "row 2: path must be given; got 'x\\x00.png'"),
        (["scans/a.png,glioma,1,holdout"], "row 2: split must be train, validation, test, left_out or empty; got 'holdout'"),
        (["scans/a.png,no", "scans/b.png,no", "x/../scans/a.png,no"], "row 4: path must be a file that is there"),
        (["scans/a.png,no", "scans/b.png,no", "./scans/a.png,no"], "rows 2, 4: each image must have one row; got '"),
        (
            ["scans/a.png,no,7,train", "scans/b.png,no,8,train", "scans/c.png,no,7,test"],
            "rows 2, 4: all images of a patient must be in one split; got train and test.",
        ),
        (
            ["scans/a.png,no,7,train", "scans/b.png,no,7,val", "scans/c.png,no,8,val", "scans/d.png,no,8,test"],
            "rows 2, 3: all images of a patient must be in one split; got train and validation, and 1 patient more.",
        ),
        (["scans/a.png,no,7,train,ward,more"], "row 2: must have a value a column; got 6 where the header names 5"),
        ([f"x{number}.png,no" for number in range(40)], "rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 30 more: path must"),
        (['"scans/a.png,no'], "a table must be CSV; got unexpected end of data"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_the_numbers_of_its_rows(folder: Path, lines: list[str], message: str) -> None:
    assert refusal(folder, "path,label,patient,split,source", *lines).startswith(message)


def test_an_image_that_several_paths_lead_to_has_one_row(folder: Path) -> None:
    (folder / "linked").symlink_to("scans")
    for again in (f"{folder}/scans/a.png", "linked/a.png", "linked/../scans/a.png", f"{folder}/linked/./a.png"):
        told = refusal(folder, "path,label", "scans/a.png,no", "scans/b.png,no", f"{again},no")
        assert told == "rows 2, 4: each image must have one row; got 'scans/a.png' in several. Remove the repetition."


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_file_with_several_names_is_several_images_that_are_copies(folder: Path, link: Callable[[Path, Path], None]) -> None:
    """So stores do that keep equal files once (DVC, git-annex)."""
    link(folder / "scans/again.png", folder / "scans/a.png")
    (folder / "images.csv").write_text("path,label\nscans/a.png,no\nscans/b.png,glioma\nscans/again.png,no\n")
    manifest = scan([folder / "images.csv"], folder / "cache")
    files = find_groups(manifest, folder / "cache").files.tolist()
    by_name = {entry.name: group for entry, group in zip(manifest.entries, files, strict=True)}
    assert by_name["scans/again.png"] == by_name["scans/a.png"] != by_name["scans/b.png"]


def test_a_patient_is_not_named_in_an_error(folder: Path) -> None:
    lines = ("scans/a.png,no,Jane Doe,train", "scans/b.png,no,Jane Doe,test")
    assert "Jane" not in refusal(folder, "path,label,patient,split", *lines)


@pytest.mark.parametrize("header", ["", "path", "file,label", "path,path,label", "path|label"])
def test_a_table_without_its_columns_is_refused(folder: Path, header: str) -> None:
    assert refusal(folder, header, "scans/a.png,no").startswith("a table must have the columns path and label")


@pytest.mark.parametrize("column", COLUMNS[2:])
def test_a_column_that_a_table_has_twice_is_refused(folder: Path, column: str) -> None:
    told = f"a table must have each column once; got {column} in several. Rename all but one."
    assert refusal(folder, f"path,label,{column.title()},note,note, {column} ", "scans/a.png,no,,,,") == told


def test_a_table_without_rows_is_refused(folder: Path) -> None:
    assert refusal(folder, "path,label").startswith("a data set must have at least one image")


def test_other_files_and_tables_that_are_not_there_are_refused(folder: Path) -> None:
    (folder / "images.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"images\.xlsx: data must be a folder or a table"):
        open_source(folder / "images.xlsx", folder / "cache")
    with pytest.raises(DataError, match=r"gone\.csv: a table must be readable"):
        open_source(folder / "gone.csv", folder / "cache").rows()


@pytest.mark.parametrize("begin", ["", "./", "../here/"])
def test_images_are_found_from_the_folder_that_a_table_lies_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    here = folder / "here"
    here.mkdir()
    (folder / "scans").rename(here / "scans")
    (here / "images.csv").write_text("path,label\nscans/a.png,no\n../here/scans/b.png,no\n")
    monkeypatch.chdir(here)
    entries = scan([f"{begin}images.csv"], here / "cache").entries
    assert all(entry.path.exists() for entry in entries)
    assert {entry.name for entry in entries} == {"scans/a.png", "../here/scans/b.png"}
    assert scan([here / "images.csv"], here / "cache").sha256 == scan([f"{begin}images.csv"], here / "cache").sha256


def test_a_table_given_twice_is_an_error_and_two_tables_in_a_folder_are_two_sets(folder: Path) -> None:
    for name in "ab":
        (folder / f"{name}.csv").write_text(f"path,label\nscans/{name}.png,glioma\n")
    manifest = scan([folder / "a.csv", folder / "b.csv"], folder / "cache")
    assert [entry.source for entry in sorted(manifest.entries, key=lambda entry: entry.name)] == ["a", "b"]
    with pytest.raises(DataError, match="given once"):
        scan([folder / "a.csv", folder / "scans" / ".." / "a.csv"], folder / "cache")


def test_a_broken_image_is_listed_as_one_of_a_folder_is(folder: Path) -> None:
    (folder / "scans" / "a.png").write_bytes(b"")
    (folder / "images.csv").write_text("path,label\nscans/a.png,no\nscans/b.png,no\nscans,no\n")
    manifest = scan([folder / "images.csv"], folder / "cache")
    assert len(manifest.entries) == 1
    assert [bad.path.name for bad in manifest.unreadable] == ["scans", "a.png"]


def test_a_plane_may_be_named_in_any_usual_way(folder: Path) -> None:
    found = rows(folder, "path,label,plane\nscans/a.png,no,AX\nscans/b.png,no,Sagittal\nscans/c.png,no,\nscans/d.png,no,cor\n")
    assert [row.plane for row in found] == ["axial", "sagittal", None, "coronal"]
    message = refusal(folder, "path,label,plane", "scans/a.png,no,oblique")
    assert message.startswith("row 2: plane must be axial, coronal, sagittal or empty; got 'oblique'")
