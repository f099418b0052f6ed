"""Writes pages that lead to each other where they lie in one folder, whichever of our two packages wrote them."""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from tumorcls.errors import DataError, shown
from tumorcls.files import is_special, lock, read_whole, write_whole

_OURS = re.compile('<meta name="generator" content="(?:search|tumorcls)">')
_TITLE = re.compile("<title>([^<]*)</title>")
_LINKS = re.compile("<nav>.*?</nav>", re.DOTALL)
_MOST_PAGES, _MOST_BYTES = 50, 2**25


def write_page(path: Path, page: str) -> None:
    """Writes a page, and has it and the pages of ours beside it lead to each other.

    Raises:
        DataError: The page cannot be written. One beside it that cannot be is left as it is.
    """
    if is_special(path):
        write_whole(path, page)
        return
    folder = Path(os.path.realpath(path)).parent
    with _alone_in(folder):
        write_whole(path, page)
        _link(folder)


def _link(folder: Path) -> None:
    beside = sorted(folder.glob("*.html"))[:_MOST_PAGES]
    pages = {place: text for place in beside if (text := _read_ours(place)) is not None}
    for place, text in pages.items():
        linked = _LINKS.sub(lambda _, place=place: _links(pages, place), text, count=1)  # type: ignore[misc]
        if linked != text:
            with contextlib.suppress(DataError, OSError):
                times = place.stat()
                write_whole(place, linked)
                os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))  # it says nothing new


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits for its turn: who has read a page must not put it back where another process has written a newer one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # there is no folder yet, or its file system has no locks
            held = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, held)
            lock(held)
        yield


def _read_ours(path: Path) -> str | None:
    """Returns a page that one of our packages wrote; None for any other file."""
    try:
        text = read_whole(path, _MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _OURS.search(text, 0, 2000) and _LINKS.search(text) else None


def _links(pages: dict[Path, str], of: Path) -> str:
    # A title is text of HTML already; whoever wrote the file, no tag is in it.
    files = {place: escape(shown(place.name)) for place in pages}
    titles = {place: title[1] if (title := _TITLE.search(text)) else files[place] for place, text in pages.items()}
    shared = {title for title, count in Counter(titles.values()).items() if count > 1}
    names = {place: f"{title} ({files[place]})" if title in shared else title for place, title in titles.items()}
    links = (f'<a href="{quote(os.fsencode(place.name))}">{names[place]}</a>' for place in pages if place != of)
    return f"<nav>{' '.join(links)}</nav>"
