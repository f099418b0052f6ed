"""A table in a Parquet file: its rows as the texts that a CSV file would have (extra `parquet`: pyarrow)."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tumorcls.errors import DataError, reason, shown

if TYPE_CHECKING:
    import pyarrow

_MAX_ROWS = 1_000_000
_MAX_LETTERS = 4096  # of one value; a file of a kilobyte can hold a million times the same long one


def read_parquet(content: bytes, table: Path, columns: Collection[str]) -> tuple[list[str], list[list[str]]]:
    """Returns the names of those columns that a table has, and their values in each row as text; nothing is an empty one.

    Args:
        content: The whole file.
        table: Its path, for errors.
        columns: What is read, in lower case.

    Raises:
        DataError: pyarrow is missing, or it is no Parquet file, or too large a one.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        remedy = "Install it with `pip install 'tumorcls[parquet]'`, or save the table as CSV."
        raise DataError(f"{shown(table)}: a Parquet table needs pyarrow, which is not installed. {remedy}") from None
    try:
        schema = parquet.read_schema(pyarrow.BufferReader(content))
        names = [field.name for field in schema if field.name.strip().lower() in columns]
        coded = [name for name in names if pyarrow.types.is_string(schema.field(name).type)]
        file = parquet.ParquetFile(pyarrow.BufferReader(content), read_dictionary=coded)
        if file.metadata.num_rows > _MAX_ROWS:
            raise DataError(f"{shown(table)}: a table must have at most {_MAX_ROWS:,} rows; got more. Divide it.")
        values = [_texts(column, table) for column in file.read(columns=names).columns]
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{shown(table)}: a table must be Parquet; got {reason(error)}. Save it anew, or as CSV.") from None
    return [name.strip().lower() for name in names], [list(row) for row in zip(*values, strict=True)]


def _texts(column: "pyarrow.ChunkedArray", table: Path) -> list[str]:
    texts: list[str] = []
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            known = [*map(_text, chunk.dictionary.to_pylist()), ""]
            found = [known[-1 if place is None else place] for place in chunk.indices.to_pylist()]
        else:
            known = found = [_text(value) for value in chunk.to_pylist()]
        if any(len(text) > _MAX_LETTERS for text in known):
            raise DataError(f"{shown(table)}: a value must have at most {_MAX_LETTERS:,} letters; got more. Shorten it.")
        texts += found
    return texts


def _text(value: Any) -> str:
    """Returns a value as text: a whole number as one, whatever its type; what is not given, NaN too, as nothing."""
    if value is None or value != value:
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
