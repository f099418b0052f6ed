"""A table as a data set: a CSV or Parquet file with a row for each image, wherever the images lie.

It has the columns ``path``, relative to the table, and ``label``, and may have ``patient``, ``split``, ``source``, ``plane``
and ``slice``; no others are looked at. A path may be a folder that stands for a volume, a series of DICOM files. A patient is
one person in the whole table, whatever source a row names.
"""

import csv
import functools
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tumorcls.data.cells import from_cell
from tumorcls.data.image_files import dicom_files
from tumorcls.data.labels import LABELS, OTHER_LABELS, counted, label_of
from tumorcls.data.sources.base import TABLE, Layout, OfficialSplit, Plane, Row, Source
from tumorcls.data.sources.parquet import read_parquet
from tumorcls.errors import DataError, reason, shown
from tumorcls.files import read_whole

COLUMNS = ("path", "label", "patient", "split", "source", "plane", "slice")
"""What is read of a table, in the order in which one is written."""

_NEEDED = COLUMNS[:2]
_DELIMITERS = ",;\t"  # what spreadsheets write, by the country they are set to
_PARQUET = ".parquet"
_MAX_BYTES = 2**28
_FIRST_ROW = 2  # as a spreadsheet counts; the header is row 1
_NAMED = 10  # rows of an error
_SPLITS: Mapping[str, OfficialSplit | None] = {
    "": None,
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "left_out": "left_out",
}
_NUMBER = re.compile(r"(0*[1-9][0-9]{0,5})?", re.ASCII)  # or nothing
_PLANES: Mapping[str, Plane | None] = {
    "": None,
    **dict.fromkeys(("axial", "ax", "transverse", "transversal", "tra"), "axial"),
    **dict.fromkeys(("coronal", "co", "cor"), "coronal"),
    **dict.fromkeys(("sagittal", "sa", "sag"), "sagittal"),
}

Lines = Mapping[int, Mapping[str, str]]
"""The values of each row by its number."""


def is_table(path: Path) -> bool:
    """Returns whether a path is that of a table, by its ending."""
    return path.suffix.lower() in (".csv", ".tsv", _PARQUET)


def open_table(path: Path) -> Source:
    """Returns a table as a source; its name, where rows name none, is the file's. It is read when its rows are asked for."""
    layout = Layout(TABLE, "a row for each image", lambda _: False, lambda _, name: iter(_rows(path, name)))
    return Source(shown(path.stem), path.parent, layout, path)


def _rows(table: Path, name: str) -> list[Row]:
    """Reads a table's rows.

    Raises:
        DataError: It cannot be read, lacks a column, or rows of it are wrong: they are named by their numbers.
    """
    lines = _read(table)
    refuse = _Refusal(table, lines)
    refuse("path", "must be given", lambda path: not path or "\0" in path, "Write a path in each row.")
    remedy = "Correct it: paths are relative to the table."
    refuse("path", "must be a file that is there", lambda path: not os.path.exists(table.parent / path), remedy)
    remedy = f"Rename it, or remove the row. {OTHER_LABELS}"
    refuse("label", f"must be one of {LABELS}", lambda label: label_of(label) is None, remedy)
    splits = "train, validation, test, left_out or empty"
    refuse("split", f"must be {splits}", lambda split: split.lower() not in _SPLITS, "Rename it.")
    refuse("plane", "must be axial, coronal, sagittal or empty", lambda plane: plane.lower() not in _PLANES, "Rename it.")
    refuse("slice", "must be a whole number from 1, or empty", lambda text: not _NUMBER.fullmatch(text), "Correct it.")
    paths = {number: table.parent / line["path"] for number, line in lines.items()}
    series = {number: _series(path) for number, path in paths.items()}
    refuse.repeated({number: series[number] or [path] for number, path in paths.items()})
    refuse.slices_of_series([number for number, files in series.items() if files and lines[number]["slice"]])
    refuse.straddling()
    return [row for number, line in lines.items() for row in _rows_of(line, paths[number], name, series[number])]


def _rows_of(line: Mapping[str, str], path: Path, name: str, series: Sequence[Path] | None) -> Iterator[Row]:
    """Yields the rows of a line: one, or of a folder one for each of its files."""
    row = Row(
        path,
        label_of(line["label"]),
        shown(line["source"]) or name,
        _SPLITS[line["split"].lower()],
        line["patient"] or None,
        _PLANES[line["plane"].lower()],
        int(line["slice"]) if line["slice"] else None,
    )
    yield from [row] if series is None else (replace(row, path=file, of_volume=True) for file in series)


def _series(path: Path) -> list[Path] | None:
    """Returns the DICOM files in and below a folder; None of a file, and of a folder that holds none."""
    return (dicom_files(path) or None) if os.path.isdir(path) else None


class _Refusal:
    """Raises the error of a table's rows, all that break one rule in one line."""

    def __init__(self, table: Path, lines: Lines) -> None:
        self._table = table
        self._lines = lines

    def __call__(self, column: str, rule: str, wrong: Callable[[str], bool], remedy: str) -> None:
        numbers = [number for number, line in self._lines.items() if wrong(line[column])]
        if numbers:
            self._fail(numbers, f"{column} {rule}", f"'{shown(self._lines[numbers[0]][column])}'", remedy)

    def repeated(self, files: Mapping[int, Sequence[Path]]) -> None:
        """Refuses a file that has several rows, unless each names another slice.

        Paths that lead to one name of one folder are one file, through links to folders too. A file that has several names, by
        links of its own or as a copy, is several images, which are found to be copies as any are.
        """
        # Of each folder once: it takes a call of the system for each of its parts.
        folder_of = functools.cache(os.path.realpath)
        numbers: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
        for number, paths in files.items():
            for folder, name in map(os.path.split, paths):
                numbers[folder_of(folder), name][number] = self._lines[number]["slice"].lstrip("0")
        for rows in numbers.values():
            if len(rows) > 1 and ("" in rows.values() or len(set(rows.values())) < len(rows)):
                got = f"'{shown(self._lines[min(rows)]['path'])}' in several"
                self._fail(rows, "each image must have one row", got, "Remove the repetition.")

    def slices_of_series(self, numbers: Sequence[int]) -> None:
        """Refuses a slice of a folder: which of its files that is, their names do not say."""
        if numbers:
            self._fail(numbers, "slice must be empty where path is a folder", "a number", "Name the slice's file.")

    def straddling(self) -> None:
        """Refuses a patient of several splits; who it is, nobody needs to read in a log."""
        splits: dict[str, dict[int, str]] = defaultdict(dict)
        for number, line in self._lines.items():
            split = _SPLITS[line["split"].lower()]
            if line["patient"] and split and split != "left_out":
                splits[line["patient"]][number] = split
        wrong = [rows for rows in splits.values() if len(set(rows.values())) > 1]
        if wrong:
            first = " and ".join(dict.fromkeys(wrong[0].values()))
            more = f", and {counted(len(wrong) - 1, 'patient')} more" if len(wrong) > 1 else ""
            remedy = "Give each patient one split."
            self._fail(wrong[0], "all images of a patient must be in one split", f"{first}{more}", remedy)

    def _fail(self, numbers: Iterable[int], rule: str, got: str, remedy: str) -> None:
        all_rows = list(numbers)
        more = f" and {len(all_rows) - _NAMED:,} more" if len(all_rows) > _NAMED else ""
        where = f"row{'s' * (len(all_rows) > 1)} {', '.join(map(str, all_rows[:_NAMED]))}{more}"
        raise DataError(f"{shown(self._table)}: {where}: {rule}; got {got}. {remedy}")


def _read(table: Path) -> dict[int, dict[str, str]]:
    try:
        content = read_whole(table, _MAX_BYTES)
    except OSError as error:
        raise DataError(f"{shown(table)}: a table must be readable; got {reason(error)}. Check the path.") from error
    if table.suffix.lower() == _PARQUET:
        header, rows = read_parquet(content, table, COLUMNS)
        if not _has_needed(header):
            raise _without_columns(table, ", ".join(header))
    else:
        header, rows = _read_csv(content, table)
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise DataError(f"{shown(table)}: a table must have each column once; got {twice[0]} in several. Rename all but one.")
    lines = {}
    for number, values in enumerate(rows, _FIRST_ROW):
        if not any(value.strip() for value in values):
            continue
        if len(values) > len(header):
            got = f"{len(values)} where the header names {len(header)}"
            raise DataError(f"{shown(table)}: row {number}: must have a value a column; got {got}. Put quotes around commas.")
        found = dict(zip(header, values, strict=False))
        lines[number] = {name: _value(name, found.get(name, "")) for name in COLUMNS}
    return lines


def _read_csv(content: bytes, table: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = content.decode("utf-8-sig", "surrogateescape")
        header, delimiter = _header(table, text)
        return header, list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))[1:]
    except csv.Error as error:
        raise DataError(f"{shown(table)}: a table must be CSV; got {reason(error)}. Save it as CSV (UTF-8).") from error


def _value(column: str, text: str) -> str:
    return text if column == "path" else from_cell(text.strip())  # a file's name may begin or end with a blank, or with a quote


def _header(table: Path, text: str) -> tuple[list[str], str]:
    """Returns the names of a table's columns, and what stands between values."""
    line = text.partition("\n")[0]
    for delimiter in _DELIMITERS:
        names = [name.strip().lower() for name in next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])]
        if _has_needed(names):
            return names, delimiter
    raise _without_columns(table, line)


def _has_needed(names: Sequence[str]) -> bool:
    return all(names.count(name) == 1 for name in _NEEDED)


def _without_columns(table: Path, names: str) -> DataError:
    got = shown(names[:100].strip()) or "nothing"
    return DataError(f"{shown(table)}: a table must have the columns path and label, once each; got {got}. Name them so.")
