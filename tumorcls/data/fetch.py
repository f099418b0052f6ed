"""Public data sets: how they get onto this disk, and whether they are what was published.

Kaggle's sets come through kagglehub (the extra ``kaggle``), which keeps them in its own cache.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tumorcls.data.image_files import read_file
from tumorcls.data.labels import UNTYPED_TUMOR
from tumorcls.data.sources import find_source
from tumorcls.data.sources.base import Source
from tumorcls.errors import DataError, UnknownLayoutError, reason, shown


@dataclass(frozen=True)
class Published:
    """A data set as its page describes it.

    Attributes:
        handle: Kaggle's ``owner/name``.
        layout: Name of its layout in `tumorcls.data.sources.LAYOUTS`.
        counts: Images by (official split or "all", label), as published.
        files_sha256: `hash_files` of the copy that this package was tested with; None where none was at hand.
    """

    handle: str
    layout: str
    counts: Mapping[tuple[str, str], int]
    files_sha256: str | None = None

    @property
    def page(self) -> str:
        """Where to download it by hand."""
        return f"https://www.kaggle.com/datasets/{self.handle}"


def _counts(split: str, glioma: int, meningioma: int, no_tumor: int, pituitary: int) -> dict[tuple[str, str], int]:
    numbers = {"glioma": glioma, "meningioma": meningioma, "no_tumor": no_tumor, "pituitary": pituitary}
    return {(split, label): number for label, number in numbers.items()}


DATASETS: Mapping[str, Published] = MappingProxyType(
    {
        "sartaj": Published(
            "sartajbhuvaji/brain-tumor-classification-mri",
            "sartaj",
            _counts("train", 826, 822, 395, 827) | _counts("test", 100, 115, 105, 74),
            "5e61d8584d95ae4d061cf4b604b592ea0bd4047449beb56046ad97eeb93f2e43",
        ),
        "nickparvar": Published(
            "masoudnickparvar/brain-tumor-mri-dataset",
            "nickparvar",
            _counts("train", 1321, 1339, 1595, 1457) | _counts("test", 300, 306, 405, 300),
        ),
        "brisc": Published(
            "briscdataset/brisc2025",
            "brisc",
            _counts("train", 1147, 1329, 1067, 1457) | _counts("test", 254, 306, 140, 300),
        ),
        "br35h": Published(
            "ahmedhamada0/brain-tumor-detection", "br35h", {("all", "no_tumor"): 1500, ("all", UNTYPED_TUMOR): 1500}
        ),
    }
)
"""The sets that `fetch` knows. figshare 1512427 is not on Kaggle; it is unpacked by hand (`tumorcls.data.sources.figshare`)."""


@dataclass(frozen=True)
class Fetched:
    """A data set on disk; `differences` says in words how it differs from what was published, and is empty if it does not."""

    folder: Path
    images: int
    files_sha256: str
    differences: tuple[str, ...]


def fetch(name: str) -> Fetched:
    """Downloads a data set, or finds it in kagglehub's cache, and checks its counts and content.

    Raises:
        DataError: The name is not known, kagglehub is not installed, the download fails, or what came is no such data set.
    """
    if name not in DATASETS:
        raise DataError(f"fetch: a data set must be one of {', '.join(DATASETS)}; got {name!r}. Choose one of them.")
    published = DATASETS[name]
    try:
        import kagglehub
    except ImportError:
        raise DataError(
            f'fetch {name}: kagglehub must be installed; it is not. Run pip install "tumorcls[kaggle]"{_by_hand(published)}'
        ) from None
    try:
        folder = Path(kagglehub.dataset_download(published.handle))
    # kagglehub's errors share no base class, and its network errors come from several libraries.
    except Exception as error:
        rule = f"Kaggle must be reachable; got {reason(error)}"
        raise DataError(f"fetch {name}: {rule}. Try again{_by_hand(published)}") from error
    return check(_data_folder(folder, published), published)


def _by_hand(published: Published) -> str:
    return f", or download {published.page} by hand, unpack it, and run `tumorcls prepare FOLDER`."


def _data_folder(folder: Path, published: Published) -> Source:
    """Finds the data below the download: some archives wrap it in folders of their own, and Br35H repeats itself in one."""
    inside = sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir())
    for candidate in (folder, *inside):
        try:
            source = find_source(candidate)
        except UnknownLayoutError:
            continue
        if source.layout.name == published.layout:
            return source
    raise DataError(f"{folder}: must hold the {published.layout} layout; got another. See {published.page}.")


def check(source: Source, published: Published) -> Fetched:
    """Compares a data set on disk with what was published; opens its files only to hash them."""
    rows = source.rows()
    counts: Counter[tuple[str, str]] = Counter((row.official_split or "all", row.label or "") for row in rows)
    differences = [
        f"{split} {label}: {published.counts.get((split, label), 0):,} images published, {counts[split, label]:,} here"
        for split, label in sorted(published.counts.keys() | counts.keys())
        if counts[split, label] != published.counts.get((split, label), 0)
    ]
    digest = hash_files(source)
    if not differences and published.files_sha256 not in (None, digest):
        differences.append("the counts are as published, but the files are not those this package was tested with")
    return Fetched(source.folder, len(rows), digest, tuple(differences))


def hash_files(source: Source) -> str:
    """Returns a hash of all images' names below the folder and their bytes."""
    digest = hashlib.sha256()
    for row in source.rows():
        name = os.fsencode(row.path.relative_to(source.folder).as_posix())
        digest.update(name + f"\0{hashlib.sha256(_read(row.path)).hexdigest()}\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise DataError(
            f"{shown(path)}: the file must be readable; got {reason(error)}. Check it, or remove it and fetch again."
        ) from None
