"""Text as a cell of a table that a spreadsheet may open, which runs what begins as a formula (OWASP, "CSV Injection")."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def to_cell(text: str) -> str:
    """Returns a cell that no spreadsheet runs: with `'` before what would begin a formula, which `from_cell` takes away."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """Returns the text of a cell that `to_cell` made; any other cell is text already."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
