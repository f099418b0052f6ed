"""How text that others wrote is shown: the names and values of a study, and paths, each on one line and without any effect.

A study may have a parameter called ``[/red]``, a value with line breaks, and a file whose name is not UTF-8.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 200
"""So many characters are shown of a name or a value."""

_LONGEST_LINE = 2_000


def plain(text: object, longest: int = LONGEST) -> str:
    r"""Returns `text` as one line of characters that have no effect on a terminal, the rest written as ``\n``, ``\x1b``.

    Args:
        text: Any text. Bytes that are not UTF-8, which Python keeps as surrogates, are written as bytes.
        longest: So many of its characters are kept.
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


def error_line(error: object) -> str:
    """Returns a message as one line."""
    return plain(" ".join(str(error).split()), _LONGEST_LINE)


def print_line(console: "Console", line: str) -> None:
    """Prints a line as it is: nothing in it is markup, and it is not broken where the terminal ends."""
    from rich.text import Text

    console.print(Text(line), soft_wrap=True)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # `os.fsdecode` keeps a byte here that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
