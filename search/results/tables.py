"""Tables in a terminal: names fold where it is narrow, figures are never cut, and a file or a pipe is as wide as it takes."""

import os
from collections.abc import Iterable
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from search.text import print_line

_ENDLESS = 1_000_000
_BETWEEN = 2  # blanks, between two columns
_NARROWEST_HEADER = 8


class FoldedTable(Table):
    """A table without lines. Where its figures alone have no room it is wider than that: print it without `crop`."""

    def __init__(self) -> None:
        super().__init__(box=None, pad_edge=False, header_style="dim")

    def add_names(self, header: str, *, least: int = 16, most: int | None = None) -> None:
        """Adds a column that may fold, down to so many characters where it has more."""
        self.add_column(Text(header), overflow="fold", min_width=least, max_width=most)

    def add_figures(self, *headers: str, justify: Literal["left", "right"] = "left") -> None:
        """Adds columns of which only the header may fold."""
        for header in headers:
            self.add_column(Text(header, no_wrap=False, overflow="fold"), no_wrap=True, justify=justify)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws it, without blanks at the end of lines: a long note makes no other line longer."""
        endless = options.update_width(_ENDLESS)
        self._set_widths(console, endless, options.max_width - _BETWEEN * (len(self.columns) - 1))
        drawn = (part for part in super().__rich_console__(console, endless) if isinstance(part, Segment))
        for segments in Segment.split_lines(drawn):
            line = Text(no_wrap=True, overflow="ignore")
            for text, style, _ in segments:
                line.append(text, style)
            line.rstrip()
            yield line

    def _set_widths(self, console: Console, options: ConsoleOptions, room: int) -> None:
        """Takes from the widest column that has more than it must until all have room, or none is left."""

        def measure(*cells: RenderableType) -> int:
            return max((Measurement.get(console, options, cell).maximum for cell in cells), default=0)

        least, widths = [], []
        for column in self.columns:
            header, cells = measure(column.header), measure(*column.cells)
            wanted = min(max(header, cells), column.max_width or _ENDLESS)
            least.append(max(cells, min(header, _NARROWEST_HEADER)) if column.no_wrap else min(wanted, column.min_width or 1))
            widths.append(max(least[-1], min(wanted, room)))
        while sum(widths) > room and (wide := [at for at, width in enumerate(widths) if width > least[at]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width


def print_parts(parts: Iterable[str | FoldedTable], console: Console | None = None) -> None:
    """Prints lines and tables; to stdout by default."""
    console = console or make_console()
    for part in parts:
        if isinstance(part, str):
            print_line(console, part)
        else:
            console.print(part, crop=False)


def make_console(*, stderr: bool = False) -> Console:
    """Returns what prints to stdout, or stderr; of any width where that is no terminal and COLUMNS does not say."""
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _ENDLESS
    return console
