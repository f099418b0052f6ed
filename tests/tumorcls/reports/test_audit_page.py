import base64
import html
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.browser import problems
from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls import DISCLAIMER
from tumorcls.data.audit import audit
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError
from tumorcls.reports.audit_page import write_audit

SETTINGS = SplitSettings(validation=0.2, test=0.2)


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    root = kaggle_folder(tmp_path / "set", 4)
    write(root / "Training" / "glioma" / "<b>&.jpg", blob(12), 50)  # of Training/pituitary/image (0).png
    return prepare([root], SETTINGS, tmp_path / "cache")


def test_the_page_shows_every_figure_of_the_terminal(data: PreparedData, tmp_path: Path) -> None:
    report = audit(data, SETTINGS)
    write_audit(report, data, tmp_path / "out" / "page.html")
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", "|", page))
    text = re.sub(r"\|+", "|", text)
    overview, *tables = report.tables()
    for what, figure in overview.rows:
        assert figure in page if "sha256" in what else f"|{figure}|{what}|" in text
    for table in tables:
        assert table.note in text
        for row in table.rows:
            assert "|".join(row) in text


def test_a_group_of_equal_pixels_is_one_distinct_picture(tmp_path: Path) -> None:
    root = kaggle_folder(tmp_path / "set", 3)
    first = root / "Training" / "glioma" / "image (0).png"
    (first.parent / "copy.png").write_bytes(first.read_bytes())
    data = prepare([root], SETTINGS, tmp_path / "cache")
    write_audit(audit(data, SETTINGS), data, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(r"<h3>Group \d+: 2 images, 1 distinct picture</h3>", page)
    assert not re.search(r"\b1 (images|distinct pictures|groups)\b", page)


def test_the_page_stands_alone(data: PreparedData, tmp_path: Path) -> None:
    write_audit(audit(data, SETTINGS), data, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script", page)
    assert DISCLAIMER in page
    assert "<b>&.jpg" not in page
    assert "&lt;b&gt;&amp;.jpg" in page
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) > 20
    first = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    assert first is not None
    assert first.shape == (112, 112, 3)


def test_the_page_leaves_those_beside_it_as_they_are(data: PreparedData, tmp_path: Path) -> None:
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    for page in (first, second):
        write_audit(audit(data, SETTINGS), data, page)
    assert first.read_bytes() == second.read_bytes()
    assert "second.html" not in first.read_text(encoding="utf-8")


def test_an_unwritable_place_is_one_line(data: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be writable"):
        write_audit(audit(data, SETTINGS), data, tmp_path / "file" / "page.html")


def test_a_figure_that_should_be_nothing_is_marked_when_it_is_not(data: PreparedData, tmp_path: Path) -> None:
    write_audit(audit(data, SETTINGS), data, tmp_path / "page.html")
    cards = re.findall(r'card ([a-z]*)"><b>([^<]+)</b><span>([^<]+)<', (tmp_path / "page.html").read_text(encoding="utf-8"))
    marks = {what: (mark, figure) for mark, figure, what in cards}
    assert marks["images"][0] == marks["different pictures"][0] == ""
    assert marks["unreadable files"] == marks["groups on both sides of this split"] == ("good", "0")
    assert marks["groups with conflicting labels"] == ("bad", "1")


def test_pictures_follow_the_table_that_they_belong_to(data: PreparedData, tmp_path: Path) -> None:
    write_audit(audit(data, SETTINGS), data, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    counts = {
        name: rest.split("<h2>")[0].count("<img")
        for name, rest in re.findall(r'<table id="(\S+)">(.*?)(?=<table|$)', page, re.DOTALL)
    }
    assert {name for name, count in counts.items() if count} == {"copies", "conflicts"}, "no twins here"
    assert counts["conflicts"] == 2


@pytest.mark.slow
def test_it_is_readable_in_any_window(data: PreparedData, tmp_path: Path) -> None:
    write_audit(audit(data, SETTINGS), data, tmp_path / "page.html")
    assert problems((tmp_path / "page.html").read_text(encoding="utf-8"), "audit", tmp_path) == []
