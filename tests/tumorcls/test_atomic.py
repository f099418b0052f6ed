import pytest

from tumorcls.atomic import write_whole
from tumorcls.errors import DataError


def test_makes_the_folder_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_whole(path, "tumour £")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"must be writable; got .*\. Choose another place\.$"):
        write_whole(tmp_path / "file" / "page.html", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError):
        write_whole(tmp_path / "folder", "x")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}
