"""How text that others wrote is shown: the names and values of a study, and paths, each on one line and without any effect.

A study may have a parameter called ``[/red]``, a value with line breaks, and a file whose name is not UTF-8.
"""

import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from rich.console import Console

_MOST_PARAMS = 50

MASK = "***"
SHOWN_OPTIONS = frozenset({"user", "host", "hostaddr", "port", "dbname", "database"})
"""Options of a URL that say what its other parts may say too."""
_OPTION = re.compile(r"([^=&]*)=([^&]*)")
_PORT = re.compile(r"[^:]*:\d*(?![^/\s?])")

LONGEST = 200
"""So many characters are shown of a name or a value."""

_LONGEST_LINE = 2_000
_LONGEST_FILE_NAME = 255  # bytes
_LOOKS_QUOTED = re.compile(r"%(?=[0-9A-Fa-f]{2})|\A%\Z")


def plain(text: object, longest: int = LONGEST) -> str:
    r"""Returns `text` as one line of characters that have no effect on a terminal, the rest written as ``\n``, ``\x1b``.

    Bytes that are not UTF-8, which Python keeps as surrogates, are written as bytes. `longest` characters are kept.
    """
    whole = str(text)
    shown = "".join(character if character.isprintable() else _escaped(character) for character in whole[:longest])
    return f"{shown}…" if len(whole) > longest else shown


def show_path(path: "str | os.PathLike[str]") -> str:
    """Returns a path as it can be shown, whatever its name is made of."""
    return plain(os.fspath(path), _LONGEST_LINE)


def show_value(value: object) -> str:
    """Returns a value: a float with four significant digits, anything else as Python writes it."""
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def show_values(values: Sequence[object]) -> list[str]:
    """Returns values as `show_value` does, those that would look alike as Python writes them."""
    shown = [show_value(value) for value in values]
    return [plain(repr(value)) if shown.count(text) > 1 else text for value, text in zip(values, shown, strict=True)]


def file_name(name: str) -> str:
    """Returns a name as one visible part of a path, no two alike: an ordinary one as it is, else with the rest as ``%2F``."""
    shown = _LOOKS_QUOTED.sub("%25", name)
    shown = "".join(c if c.isprintable() and c != "/" else quote(c, safe="", errors="surrogatepass") for c in shown)
    if shown.startswith((".", " ")):
        shown = f"%{ord(shown[0]):02X}{shown[1:]}"
    if len(shown.encode()) > _LONGEST_FILE_NAME:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
        shown = f"{shown.encode()[: _LONGEST_FILE_NAME // 2].decode(errors='ignore')}-{digest}"
    return shown or "%"


def error_line(error: object) -> str:
    """Returns a message as one line."""
    return plain(one_line(error), _LONGEST_LINE)


def print_line(console: "Console", line: str) -> None:
    """Prints a line as it is: nothing in it is markup, and it is not broken where the terminal ends."""
    from rich.text import Text

    console.print(Text(line), soft_wrap=True)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # `os.fsdecode` keeps a byte here that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def mask_urls(text: str) -> str:
    """Returns a text, such as a value of a study file under a misspelt key, with passwords and options of its URLs masked.

    Where a URL ends cannot be told, as a password and an option may hold blanks; rather too much is masked.
    """
    shown, mark, behind = text.partition("://")
    while mark:
        part, mark, behind = behind.partition("://")
        shown += "://"
        if ":" in part and "@" not in part and "@" in behind and not _PORT.match(part):  # a password with :// in it
            return f"{shown}{part.partition(':')[0]}:{MASK}"
        masked = _mask(part)
        if masked != part and "?" in part:  # an option with :// in it
            return f"{shown}{masked}"
        shown += masked
    return shown


def mask_options(query: str) -> str:
    """Returns the part of a URL behind its question mark with the values masked; what is no option is masked whole."""
    if "=" not in query:
        return MASK if query else ""
    return _OPTION.sub(lambda match: match[0] if match[1] in SHOWN_OPTIONS else f"{match[1]}={MASK}", query)


def _mask(part: str) -> str:
    """Masks what stands between one ``://`` and the next."""
    authority, index, rest = part.rpartition("@")
    user, colon, password = authority.partition(":")
    if not colon:
        authority, index, rest = "", "", part
    elif "@" in password and "?" in password:  # the last @ may be a password's or an option's
        return f"{user}:{MASK}"
    path, mark, query = rest.partition("?")
    return f"{f'{user}:{MASK}' if authority else ''}{index}{path}{mark}{mask_options(query)}"


def one_line(text: object) -> str:
    """Returns `text` with every run of white space, line breaks included, as one blank."""
    return " ".join(str(text).split())


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns ``Did you mean "x"?`` or, where nothing is close, the list of what is known."""
    names = sorted(known)
    close = closest(word, names)
    return f"Known: {', '.join(names)}." if close is None else f'Did you mean "{close}"?'


def closest(word: str, known: Iterable[str]) -> str | None:
    """Returns what was most likely meant by a word; None where nothing is close."""
    return next(iter(difflib.get_close_matches(word[:100], sorted(known), n=1, cutoff=0.6)), None)


def show(value: Any) -> str:
    """Returns a value as a study file writes it: ``true``, ``"text"``; without secrets of URLs, and cut where it is long."""
    return plain(_show(value))


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{mask_urls(value)}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_show(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_show(item)}' for key, item in value.items())} }}"
    return str(value)


def format_size(size: int) -> str:
    """Returns bytes as ``"4.2 GB"`` or ``"812 MB"``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def clock(seconds: float) -> str:
    """Returns ``mm:ss``, or ``h:mm:ss`` from one hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def format_params(params: Mapping[str, Any]) -> str:
    """Returns ``name=value`` pairs, floats with four significant digits; of very many the first ones."""
    pairs = [f"{plain(name)}={show_value(value)}" for name, value in islice(params.items(), _MOST_PARAMS)]
    return " ".join(pairs + ["…"] * (len(params) > _MOST_PARAMS))
