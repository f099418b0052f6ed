"""Runs that a benchmark keeps in a JSON file, so that it goes on there when it is started again with the same settings."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backend import package_versions

_DEFAULTS = {"settings": TrainConfig(data=("none",)).model_dump(mode="json", exclude={"data", "weights"})}
"""Of what a file of before does not know yet."""


def machine() -> str:
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with data and weights by their names, without the paths of this machine."""
    names = {"weights": Path(settings["weights"]).name, "data": [Path(source).name for source in settings["data"]]}
    return {**settings, **names}


def write_runs(path: Path, asked: Mapping[str, Any], runs: Sequence[Any], **measured: Any) -> None:
    """Writes dataclasses, with what was asked of all of them and what was measured on all of them."""
    shown = {"machine": machine(), "versions": package_versions(), **asked, **measured}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**shown, "runs": [asdict(run) for run in runs]}, indent=1) + "\n")


def read_runs(path: Path, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the runs that a file keeps, and says how many they are; none where there is no file.

    Args:
        path: What `write_runs` wrote.
        asked: What is asked now. Settings that the file does not know had their defaults.

    Raises:
        SystemExit: Other things were asked then.
    """
    if not path.exists():
        return []
    document = json.loads(path.read_text())
    before, now = (
        dict(_flat(_DEFAULTS)) | dict(_flat(values)) for values in ({key: document.get(key) for key in asked}, asked)
    )
    for name in (now | before) if before != now else ():
        if before.get(name) != now.get(name):
            told, got = (json.dumps(values.get(name)) for values in (before, now))
            raise SystemExit(
                f"{path}: was made with {name.removeprefix('settings.')} {told}; got {got}. Name another --output."
            )
    print(f"{len(document['runs'])} runs of before are taken from {path}", flush=True)
    return list(document["runs"])


def _flat(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value
