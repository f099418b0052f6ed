"""Examines a data set for what is wrong with it: counts, copies, leaks, conflicts and confounding, as one frozen record.

The terminal (`tumorcls audit`) and the page (`tumorcls.reports.audit_page`) both show `Audit.tables`, so their numbers cannot
differ.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumorcls.data.labels import counted, percent
from tumorcls.data.manifest import Entry
from tumorcls.data.parts import conflicting_groups
from tumorcls.data.prepare import PreparedData
from tumorcls.data.sources.base import LeftOut
from tumorcls.data.split import PARTS, SplitSettings
from tumorcls.data.twins import Pair, Twins, count_twins, list_twins
from tumorcls.errors import shown

_LARGEST = 5
_SIZES = 8
_LISTED = 100
_CONFOUNDED = 0.1
"""Cramér's V from which class and source go together: a small effect (Cohen 1988, "Statistical Power Analysis", sec. 7.2)."""


@dataclass(frozen=True)
class Table:
    """Figures of an audit as text.

    Attributes:
        id: Names it on a page, where pictures belong to some.
        title: A heading.
        note: A sentence that says what to make of it.
        header: Column names.
        rows: Texts, one for each column.
        kinds: Of each row: ``sum`` of those above, ``good`` or ``bad`` for a figure that should be 0, ``hash``, or nothing.
    """

    id: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """How many images are copies: `extra` beyond the first of each of `sets` sets of two or more, `images` in those sets."""

    sets: int
    images: int
    extra: int


@dataclass(frozen=True)
class Conflict:
    """A group whose labels cannot all be right; `members` are places in the manifest."""

    group: int
    labels: tuple[str, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class Audit:
    """What was found.

    `counts`, `planes`, `parts` and `sizes` count images by (source, label), (label, plane), (label, part) and (source, size).
    `association` is Cramér's V between class and source in [0, 1]. `naive_leak` is the share of test images that would have a
    copy in training after a random split image by image with the same shares, or another slice of their patient where it is
    known which are: `by_patient`. `straddling` counts groups in more than one part of ours; `moved_out` counts the images left
    out because a part that a set gives holds a copy of them, or their patient; `patients` counts those that are named, and
    `unnamed` the images that name none; `twin_files` has of each twin its file, its part, its copy's file and part, and how
    alike they are.
    """

    images: int
    unreadable: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    manifest_sha256: str
    split_sha256: str
    counts: dict[tuple[str, str], int]
    planes: dict[tuple[str, str], int]
    parts: dict[tuple[str, str], int]
    sizes: dict[tuple[str, str], int]
    files: Copies
    pixels: Copies
    pictures: Copies
    largest: tuple[int, ...]
    across_sources: int
    twins: tuple[Twins, ...]
    twin_files: tuple[tuple[str, ...], ...]
    conflicts: tuple[Conflict, ...]
    association: float
    naive_leak: float
    straddling: int
    moved_out: int
    patients: int
    unnamed: int
    by_patient: bool

    def tables(self) -> tuple[Table, ...]:
        """Returns every figure of the report as text."""
        tables = [self._overview(), _cross_table("counts", "Images per class and source", self._confounding(), self.counts)]
        if self.planes:
            tables.append(_cross_table("planes", "Images per class and plane", "Of those whose plane is named.", self.planes))
        tables += [self._copies(), self._twins(), *([self._twin_files()] if self.twin_files else []), self._conflicts()]
        tables.append(_cross_table("split", "The split", self._split_note(), self.parts, PARTS))
        tables.append(_cross_table("sizes", "Sizes in pixels", "Width x height; the most frequent first.", self.sizes))
        if self.unreadable:
            rows = [(reason,) for reason in self.unreadable]
            tables.append(_table("unreadable", "Unreadable files", "Listed and left out.", ("file and reason",), rows))
        if self.left_out:
            counted = [(f"{one.source}/{one.folder}", one.suffix or "none", f"{one.count:,}") for one in self.left_out]
            note = "No images by their names, or in folders that do not count. Move them where they belong, or away."
            tables.append(_table("passed-over", "Files passed over", note, ("folder", "ending", "files"), counted))
        return tuple(tables)

    def _overview(self) -> Table:
        passed_over = sum(one.count for one in self.left_out)
        seen = "a copy or another slice of their patient" if self.by_patient else "a copy"
        named = (
            ("patients named", f"{self.patients:,}", ""),
            ("images without a patient", f"{self.unnamed:,}", _judged(self.unnamed)),
        )
        figures = (
            ("images", f"{self.images:,}", ""),
            ("unreadable files", f"{len(self.unreadable):,}", _judged(len(self.unreadable))),
            ("files passed over", f"{passed_over:,}", _judged(passed_over)),
            ("different pictures", f"{self.images - self.pictures.extra:,}", ""),
            *(named if self.by_patient else ()),
            ("groups with conflicting labels", f"{len(self.conflicts):,}", _judged(len(self.conflicts))),
            (
                f"test images with {seen} in training, random split",
                f"{self.naive_leak:.1%}",
                _judged(round(self.naive_leak, 3)),
            ),
            ("groups on both sides of this split", f"{self.straddling:,}", _judged(self.straddling)),
            ("manifest sha256", self.manifest_sha256[:16], "hash"),
            ("split sha256", self.split_sha256[:16], "hash"),
        )
        rows, kinds = tuple((what, figure) for what, figure, _ in figures), tuple(kind for *_, kind in figures)
        apart = f"This split keeps copies{' and slices of one patient' * self.by_patient} apart"
        leaks = f"This split leaks: {counted(self.straddling, 'group')} on both sides of it"
        look = ", ".join(f"{what} ({figure})" for what, figure, kind in figures if kind == "bad" and "split" not in what)
        note = f"{leaks if self.straddling else apart}; in a random one {self.naive_leak:.1%} of the test images have {seen} in"
        note += f" training. To look at: {look}." if look else " training."
        return Table("overview", "Verdict", note, ("what", "figure"), rows, kinds)

    def _confounding(self) -> str:
        label, source, share = _most_confounded(self.counts)
        if len({source for source, _ in self.counts}) < 2:
            return "All images come from one source."
        note = f"Cramér's V between class and source is {self.association:.2f} (0 independent, 1 one determines the other)."
        if self.association < _CONFOUNDED:
            return note
        return f"{note} {percent(share)} of {label} comes from {source}: a model can learn the source in place of the class."

    def _copies(self) -> Table:
        named = (("same file", self.files), ("same pixels", self.pixels), ("same picture (near duplicates too)", self.pictures))
        rows = [(name, f"{c.extra:,}", f"{c.sets:,}", f"{c.images:,}") for name, c in named]
        largest = ", ".join(map(str, self.largest)) or "none"
        note = f"Largest groups of one picture: {largest}. Groups with images of several sources: {self.across_sources:,}."
        return _table("copies", "Copies", note, ("copies", "beyond the first", "groups", "images in them"), rows)

    def _twins(self) -> Table:
        rows = [
            (t.source, t.part, f"{t.test:,}", f"{t.same_file:,}", f"{t.same_pixels:,}", f"{t.same_picture:,}")
            for t in self.twins
        ]
        note = "Images that a set's own split holds out and that have a copy in what it gives to training, of whichever set."
        header = ("source", "part", "images", "same file", "same pixels", "same picture")
        return _table("twins", "Twins across the official split", note, header, rows)

    def _twin_files(self) -> Table:
        listed = self.twin_files[:_LISTED]
        note = f"The first {len(listed):,} of {len(self.twin_files):,}" if len(listed) < len(self.twin_files) else "All of them"
        header = ("held out", "part", "its copy", "copy's part", "alike")
        return _table("twin-files", "The twins by name", f"{note}, each with its closest copy.", header, listed)

    def _conflicts(self) -> Table:
        rows = [(str(c.group), ", ".join(c.labels), str(len(c.members))) for c in self.conflicts]
        note = "Copies whose labels differ; left out of training unless asked for."
        return _table("conflicts", "Label conflicts", note, ("group", "labels", "images"), rows)

    def _split_note(self) -> str:
        kept = "Copies and slices of one patient" if self.by_patient else "Copies"
        straddle = "no group straddles" if not self.straddling else f"{counted(self.straddling, 'group')} straddle"
        note = f"{kept} stay on one side: {straddle}."
        if self.moved_out:
            note += f" Left out for a copy, or their patient, in a part that is given: {counted(self.moved_out, 'image')}."
        return note


def audit(data: PreparedData, settings: SplitSettings) -> Audit:
    """Examines prepared data; reads no image."""
    entries, copies = data.manifest.entries, data.copies
    conflicts = conflicting_groups(entries, copies.images, settings.binary)
    counts = Counter((entry.source, entry.label) for entry in entries)
    sizes = np.bincount(copies.images)
    patients = [entry.patient for entry in entries if entry.patient is not None]
    volumes = [entry.volume for entry in entries if entry.volume is not None]
    by_patient = bool(patients) or len(set(volumes)) < len(volumes)  # a volume shows one
    return Audit(
        images=len(entries),
        unreadable=tuple(bad.reason for bad in data.manifest.unreadable),
        left_out=data.manifest.left_out,
        manifest_sha256=data.manifest.sha256,
        split_sha256=data.split_sha256,
        counts=dict(counts),
        planes=dict(sorted(Counter((entry.label, entry.plane) for entry in entries if entry.plane).items())),
        parts=dict(Counter((entry.label, str(part)) for entry, part in zip(entries, data.parts, strict=True))),
        sizes=_common_sizes(entries),
        files=_copies(copies.files),
        pixels=_copies(copies.pixels),
        pictures=_copies(copies.images),
        largest=tuple(int(size) for size in np.sort(sizes[sizes > 1])[::-1][:_LARGEST]),
        across_sources=_groups_with_several(copies.images, [entry.source for entry in entries]),
        twins=count_twins(entries, copies),
        twin_files=tuple(_named(entries, pair) for pair in list_twins(entries, copies)),
        conflicts=tuple(_conflict(data, group) for group in conflicts),
        association=_cramers_v(counts),
        naive_leak=_naive_leak(data.groups if by_patient else copies.images, settings),
        moved_out=data.moved_out,
        patients=len(set(patients)),
        unnamed=len(entries) - len(patients),
        by_patient=by_patient,
        straddling=_groups_with_several(data.groups[data.parts != "left_out"], data.parts[data.parts != "left_out"].tolist()),
    )


def _copies(groups: npt.NDArray[np.int64]) -> Copies:
    sizes = np.bincount(groups)
    sizes = sizes[sizes > 1]
    return Copies(len(sizes), int(sizes.sum()), int((sizes - 1).sum()))


def _groups_with_several(groups: npt.NDArray[np.int64], values: Iterable[str]) -> int:
    """Counts the groups whose members differ in a value."""
    distinct = set(zip(groups.tolist(), values, strict=True))
    return sum(count > 1 for count in Counter(group for group, _ in distinct).values())


def _named(entries: Sequence[Entry], pair: Pair) -> tuple[str, ...]:
    held_out, copy = entries[pair.held_out], entries[pair.copy]
    files = [(shown(f"{one.source}/{one.title}"), one.official_split or "") for one in (held_out, copy)]
    return (*files[0], *files[1], pair.likeness)


def _conflict(data: PreparedData, group: int) -> Conflict:
    entries = data.manifest.entries
    members = sorted(np.flatnonzero(data.copies.images == group).tolist(), key=lambda i: (entries[i].source, entries[i].name))
    return Conflict(group, tuple(sorted({entries[i].label for i in members})), tuple(members))


def _common_sizes(entries: tuple[Entry, ...]) -> dict[tuple[str, str], int]:
    common = [size for size, _ in Counter((e.width, e.height) for e in entries).most_common(_SIZES)]
    names = {size: f"{size[0]}x{size[1]}" for size in common}
    counts = Counter((names.get((e.width, e.height), "other"), e.source) for e in entries)
    order = [*names.values(), "other"]
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0][0])))


def _cramers_v(counts: Counter[tuple[str, str]]) -> float:
    """Returns Cramér's V of a contingency table, by pairs of row and column; 0 for a single row or column."""
    from scipy.stats.contingency import association

    rows, columns = sorted({row for row, _ in counts}), sorted({column for _, column in counts})
    if min(len(rows), len(columns)) < 2:
        return 0.0
    return float(association(np.array([[counts[row, column] for column in columns] for row in rows]), method="cramer"))


def _most_confounded(counts: dict[tuple[str, str], int]) -> tuple[str, str, float]:
    """Returns the class that comes most from one source, that source, and the share."""
    totals: Counter[str] = Counter()
    for (_, label), count in counts.items():
        totals[label] += count
    share, label, source = max((count / totals[label], label, source) for (source, label), count in counts.items())
    return label, source, share


def _naive_leak(groups: npt.NDArray[np.int64], settings: SplitSettings) -> float:
    """Returns the share of test images of whose group training has another; 0 without a test part. Split image by image."""
    draw = np.random.default_rng(settings.seed).random(len(groups))
    test = draw < (settings.test or settings.validation)
    train = draw >= settings.test + settings.validation
    return float(np.isin(groups[test], groups[train]).mean()) if test.any() else 0.0


def _judged(count: float) -> str:
    return "bad" if count else "good"


def _table(id: str, title: str, note: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    return Table(id, title, note, header, tuple(rows), ("",) * len(rows))


def _cross_table(id: str, title: str, note: str, counts: dict[tuple[str, str], int], columns: tuple[str, ...] = ()) -> Table:
    rows = list(dict.fromkeys(row for row, _ in counts))
    columns = columns or tuple(sorted({column for _, column in counts}))
    body = []
    for row in rows:
        line = [counts.get((row, column), 0) for column in columns]
        body.append((row, *(f"{count:,}" for count in line), f"{sum(line):,}"))
    sums = [sum(counts.get((row, column), 0) for row in rows) for column in columns]
    body.append(("all", *(f"{count:,}" for count in sums), f"{sum(sums):,}"))
    return Table(id, title, note, ("", *columns, "all"), tuple(body), ("",) * len(rows) + ("sum",))
