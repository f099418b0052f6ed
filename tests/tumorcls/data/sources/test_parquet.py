"""A table in a Parquet file means what the same table means as CSV."""

import math
from pathlib import Path

import pytest

from tests.tumorcls.pictures import blob, write
from tumorcls.data.sources import open_source
from tumorcls.data.sources.base import Row
from tumorcls.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures in a folder of their own, a.png to d.png."""
    for number, name in enumerate("abcd"):
        write(tmp_path / "scans" / f"{name}.png", blob(number, 32))
    return tmp_path


def rows(folder: Path, **columns: list) -> list[Row]:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), folder / "images.parquet")
    return open_source(folder / "images.parquet", folder / "cache").rows()


def test_rows_are_those_of_the_same_csv(folder: Path) -> None:
    found = rows(
        folder,
        image=[{"bytes": b"x" * 9000}] * 4,  # what is not looked at may be large
        Path=[f"scans/{name}.png" for name in "abcd"],
        label=["Glioma Tumour", "healthy", "tumour", "pituitary"],
        patient=[7.0, math.nan, 8.0, 9.0],
        split=["training", "VAL", "left_out", None],
        source=["ward", "", None, "ward"],
    )
    (folder / "images.csv").write_text(
        "path,label,patient,split,source\nscans/a.png,Glioma Tumour,7,training,ward\nscans/b.png,healthy,,VAL,\n"
        "scans/c.png,tumour,8,left_out,\nscans/d.png,pituitary,9,,ward\n"
    )
    assert found == open_source(folder / "images.csv", folder / "cache").rows()
    assert [row.patient for row in found] == ["7", None, "8", "9"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"path": ["scans/a.png", "scans/x.png"], "label": ["glioma", "glioma"]}, "row 3: path must be a file that is there"),
        ({"path": ["scans/a.png"], "label": ["lime"]}, "row 2: label must be one of glioma"),
        ({"path": ["scans/a.png"]}, "must have the columns path and label, once each; got path"),
        ({"path": ["scans/a.png"], "Path": ["b"], "label": ["glioma"]}, "must have the columns path and label, once each"),
        ({"path": ["scans/a.png"], "label": ["no"], "split": ["test"], "Split": ["train"]}, "each column once; got split in"),
        ({"path": ["x" * 5000], "label": ["glioma"]}, "at most 4,096 letters"),
        ({"path": ["same"] * 1_000_001, "label": ["glioma"] * 1_000_001}, "at most 1,000,000 rows"),
        ({"path": [{"a": 1}], "label": ["glioma"]}, "path must be a file that is there"),
    ],
    ids=["no file", "no label", "no column", "twice", "split twice", "long", "many", "nested"],
)
def test_what_is_wrong_is_one_line(folder: Path, columns: dict, words: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(folder, **columns)
    assert str(caught.value).startswith(f"{folder}/images.parquet: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"path,label\na.png,glioma\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_no_parquet_file_is_one_line(folder: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    (folder / "images.parquet").write_bytes(content)
    with pytest.raises(DataError, match="a table must be Parquet; got ") as caught:
        open_source(folder / "images.parquet", folder / "cache").rows()
    assert "\n" not in str(caught.value)


def test_without_pyarrow_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (folder / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"needs pyarrow, .*tumorcls\[parquet\]"):
        open_source(folder / "images.parquet", folder / "cache").rows()
