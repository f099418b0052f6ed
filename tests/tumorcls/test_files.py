import os
import stat
from pathlib import Path

import pytest

from tumorcls.errors import DataError
from tumorcls.files import check_writable, write_whole


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


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "target")
    write_whole(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "target").read_text() == "x"
    write_whole(Path("/dev/null"), "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(DataError, match="/dev/full: must be writable; got No space left on device"):
        write_whole(Path("/dev/full"), "x")


def test_what_cannot_be_written_is_known_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "below", tmp_path / ("a" * 300)):
        with pytest.raises(DataError, match="must be writable"):
            check_writable(place)
    check_writable(tmp_path / "new" / "model.keras")
    check_writable(Path("/dev/null"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "new"]
