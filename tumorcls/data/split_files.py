"""Which files does `tumorcls prepare` write? The manifest, the split, and a summary with their provenance."""

import csv
import io
import json
import platform
from collections import Counter
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from tumorcls.data.prepare import PreparedData
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError
from tumorcls.files import replace_text

_PACKAGES = ("numpy", "opencv-python-headless", "imagehash", "pillow", "scipy")


def write_split_files(data: PreparedData, settings: SplitSettings, folder: Path) -> None:
    """Writes ``manifest.csv``, ``split.csv`` (source, name, part, group) and ``summary.json``, each replaced as a whole.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.manifest.write(folder / "manifest.csv")
        replace_text(folder / "split.csv", _split_table(data))
        replace_text(folder / "summary.json", json.dumps(_summary(data, settings), indent=2) + "\n")
    except OSError as error:
        raise DataError(f"{folder}: must be writable; got {error.strerror or error}. Choose another with --out.") from error


def _split_table(data: PreparedData) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "name", "part", "group"])
    for entry, part, group in zip(data.manifest.entries, data.parts.tolist(), data.groups.tolist(), strict=True):
        writer.writerow([entry.source, entry.name, part, group])
    return text.getvalue()


def _summary(data: PreparedData, settings: SplitSettings) -> dict[str, object]:
    return {
        "images": len(data.manifest.entries),
        "parts": dict(Counter(data.parts.tolist())),
        "manifest_sha256": data.manifest.sha256,
        "split_sha256": data.split_sha256,
        "settings": settings.model_dump(),
        "left_out": [asdict(one) for one in data.manifest.left_out],
        "unreadable": [bad.reason for bad in data.manifest.unreadable],
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
    }
