"""Pages of both packages lead to each other where they lie in one folder."""

import os
import re
import sys
import threading
import time

import pytest

from search.results.report.links import write_page as write_of_search
from tumorcls.reports.links import write_page as write_of_tumorcls


def page(generator, title):
    head = f'<meta charset="utf-8"><meta name="generator" content="{generator}"><title>{title}</title>'
    return f"<!doctype html><html><head>{head}</head><body><nav></nav><h1>{title}</h1></body></html>"


def links(path):
    return re.findall(r'<a href="(.*?)">(.*?)</a>', path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("write", [write_of_search, write_of_tumorcls])
def test_a_new_page_and_those_beside_it_lead_to_each_other(tmp_path, write):
    other = tmp_path / "a study.html"
    write_of_search(other, page("search", "Study &lt;b&gt;"))
    (tmp_path / "foreign.html").write_text("<title>no page of ours</title><nav></nav>")
    os.utime(other, (1, 1))
    assert links(other) == []
    write(tmp_path / "audit.html", page("tumorcls", "Data audit"))
    assert links(other) == [("audit.html", "Data audit")]
    assert links(tmp_path / "audit.html") == [("a%20study.html", "Study &lt;b&gt;")]
    assert other.stat().st_mtime == 1
    assert (tmp_path / "foreign.html").read_text() == "<title>no page of ours</title><nav></nav>"
    other.unlink()
    write(tmp_path / "audit.html", page("tumorcls", "Data audit"))
    assert links(tmp_path / "audit.html") == []


@pytest.mark.parametrize("write", [write_of_search, write_of_tumorcls])
def test_a_page_beside_it_that_cannot_be_read_is_left_alone(tmp_path, write):
    (tmp_path / "binary.html").write_bytes(page("search", "x").encode() + b"\xff")
    os.mkfifo(tmp_path / "pipe.html")
    write(tmp_path / "audit.html", page("tumorcls", "Data audit"))
    assert links(tmp_path / "audit.html") == []


@pytest.mark.parametrize("write", [write_of_search, write_of_tumorcls])
def test_a_page_may_have_a_name_that_is_not_utf8(tmp_path, write):
    (tmp_path / os.fsdecode(b"\xe9.html")).write_text(page("search", "Study"))
    write(tmp_path / "audit.html", page("tumorcls", "Study"))
    assert links(tmp_path / "audit.html") == [("%E9.html", r"Study (\xe9.html)")]


@pytest.mark.parametrize("write", [write_of_search, write_of_tumorcls])
def test_pages_of_one_title_are_told_apart_by_their_names(tmp_path, write):
    for name in ("a.html", "b&c.html", "study.html"):
        write(tmp_path / name, page("search", "Study" if name == "study.html" else "Data audit"))
    assert links(tmp_path / "study.html") == [("a.html", "Data audit (a.html)"), ("b%26c.html", "Data audit (b&amp;c.html)")]
    assert links(tmp_path / "a.html") == [("b%26c.html", "Data audit (b&amp;c.html)"), ("study.html", "Study")]


@pytest.mark.parametrize("write", [write_of_search, write_of_tumorcls])
@pytest.mark.parametrize("write_meanwhile", [write_of_search, write_of_tumorcls])
def test_a_page_that_another_writes_meanwhile_is_not_put_back(tmp_path, monkeypatch, write, write_meanwhile):
    study, module, waits = tmp_path / "study.html", sys.modules[write.__module__], threading.Event()
    write(study, page("search", "Old"))
    other = threading.Thread(target=write_meanwhile, args=(study, page("search", "New")))
    read = module._read_ours

    def read_slowly(place):
        text = read(place)
        if place == study and other.ident is None:
            other.start()
            while other.is_alive() and not waits.is_set():
                time.sleep(0.01)
        return text

    for each in {module, sys.modules[write_meanwhile.__module__]}:

        def lock_and_tell(file, lock=each.lock):
            if threading.current_thread() is other:
                waits.set()
            lock(file)

        monkeypatch.setattr(each, "lock", lock_and_tell)
    monkeypatch.setattr(module, "_read_ours", read_slowly)
    write(tmp_path / "audit.html", page("tumorcls", "Data audit"))
    other.join()
    assert "<h1>New</h1>" in study.read_text()
    assert links(study) == [("audit.html", "Data audit")]
    assert links(tmp_path / "audit.html") == [("study.html", "New")]
