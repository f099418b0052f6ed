"""What a study's values were measured with: data, split, weights and code as hashes of content, wherever the files lie."""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tumorcls.cache.checked import load_arrays, store_arrays
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.decoding import PIXELS_VERSION
from tumorcls.data.prepare import PreparedData
from tumorcls.errors import shown
from tumorcls.model.backend import device_name
from tumorcls.model.program import is_mixed
from tumorcls.training.features import VIEWS_VERSION
from tumorcls.training.validation import NOISE_VERSION

_DIGITS = 32  # of a hash


def fingerprint(prepared: PreparedData, weights_sha256: str, backend: str, cache: Path) -> dict[str, str]:
    """Returns what all values of a study depend on besides its settings.

    The data are all images and their labels, whatever their files are called and in whatever order; the split is which of them
    are in which part and in which order, and which belong together. Which file held what is kept in the cache folder, so that
    `describe_change` can name files.
    """
    images = [f"{entry.pixel_sha256} {entry.label}" for entry in prepared.manifest.entries]
    rows = zip(images, prepared.parts.tolist(), prepared.groups.tolist(), strict=True)
    now = {
        "data": f"{len(images):,} images {_hash(sorted(images))}",
        "split": _hash(f"{image} {part} {group}" for image, part, group in rows),
        "weights": weights_sha256[:_DIGITS],
        "code": f"pixels {PIXELS_VERSION}, views {VIEWS_VERSION}, noise {NOISE_VERSION}",
        "backend": backend,
    }
    listing = _listing(now["data"], cache)
    with contextlib.suppress(OSError):  # only words depend on it
        if not listing.exists():
            names, pixels = zip(*_files(prepared).items(), strict=True)
            store_arrays(listing, names=np.array(names), pixels=np.array(pixels))
    return now


def computed_with(config: TrainConfig) -> dict[str, str]:
    """Returns on what a run of a config is computed here, and whether its training steps are `float32` or `mixed`.

    It is on record, and no part of a fingerprint: a study may go on on another device.
    """
    return {"device": device_name(), "precision": "mixed" if is_mixed(config) else "float32"}


def describe_change(before: Mapping[str, str], now: Mapping[str, str], prepared: PreparedData, cache: Path) -> str:
    """Returns in one line how the fingerprints of a study and of this process, with its data, differ; nothing if they do not.

    Where the cache folder knows the former data, the files that differ are named.
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if "data" in names and "split" in names:
        names.remove("split")  # it follows
    changes = [f"{name} was {before.get(name, 'not there')}, and is {now.get(name, 'not there')}" for name in names]
    if "data" in names:
        former = load_arrays(_listing(before.get("data", ""), cache), ("names", "pixels"))
        if former is not None:
            known = dict(zip(former["names"].tolist(), former["pixels"].tolist(), strict=True))
            changes.insert(0, f"data: {_describe_files(known, _files(prepared))}")
    return "; ".join(changes)


def _describe_files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [name for name in now if name in before and now[name] != before[name]]
    added = [name for name in now if name not in before]
    removed = [name for name in before if name not in now]
    counts = {"changed": changed, "added": added, "removed": removed}
    summary = ", ".join(f"{len(names):,} {what}" for what, names in counts.items() if names)
    named = [name for names in counts.values() for name in names]
    few = ", ".join(shown(name) for name in named[:3])
    return f"{summary} ({few}{', ...' if len(named) > 3 else ''})" if named else "labels"


def _files(prepared: PreparedData) -> dict[str, str]:
    return {entry.title: f"{entry.pixel_sha256[:16]} {entry.label}" for entry in prepared.manifest.entries}


def _listing(data: str, cache: Path) -> Path:
    return cache / f"data-{hashlib.sha256(data.encode()).hexdigest()[:24]}.npz"


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]
