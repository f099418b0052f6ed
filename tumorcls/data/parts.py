"""Which part each image gets: what a data set gives is done, the rest is dealt out, and no group is on two sides.

Where an image has a copy, or its patient another image, in a part that is given, the more protected part wins: test before
validation before training. What would leak into it is left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tumorcls.data.dedup.groups import Groups
from tumorcls.data.labels import BINARY_CLASSES, UNTYPED_TUMOR
from tumorcls.data.manifest import Entry
from tumorcls.data.split import SplitSettings, split_groups
from tumorcls.errors import DataError

Mask = npt.NDArray[np.bool_]

_FREE, _TRAIN, _VALIDATION, _TEST = range(4)
_RANKS = {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}
"""How well a part is protected."""


def assign(entries: Sequence[Entry], groups: Groups, settings: SplitSettings) -> tuple[npt.NDArray[np.str_], int]:
    """Honours the parts that are given (by a table, or with `official_test` by a set's test folder) and deals out the rest.

    Where no validation images are given, they are taken from those that are given to training, and a test part that is not
    given from those of no given part.

    Returns:
        (n,) the part of each image: "train", "validation", "test" or "left_out"; and how many images are left out because a
        part that is given holds a copy of them, or their patient.

    Raises:
        DataError: A part with a share above 0, or a part that is given, would be empty.
    """
    rank = np.array([_rank(entry, settings) for entry in entries])
    top = np.zeros(len(entries), np.int64)
    np.maximum.at(top, groups.split, rank)
    top = top[groups.split]  # of each image's group
    usable = _usable(entries, groups, settings) & ~taken_out(entries)
    moved_out = usable & (rank < top) & (top > _TRAIN)
    usable = _without_copies(entries, groups, settings, usable & ~moved_out)
    parts = np.full(len(entries), "left_out", dtype="<U10")
    parts[(rank == _TEST) & has_class(entries, settings)] = "test"
    parts[usable & (rank == _VALIDATION) & (top == _VALIDATION)] = "validation"
    has_test = settings.official_test or bool((rank == _TEST).any())
    has_validation = bool((rank == _VALIDATION).any())
    shares = {"validation": 0.0 if has_validation else settings.validation, "test": 0.0 if has_test else settings.test}

    def deal_out(among: Mask, shares: Mapping[str, float]) -> None:
        if among.any():
            strata = [(entries[i].label, *entries[i].data_set) for i in np.flatnonzero(among).tolist()]
            fractions = {"train": 1 - shares["validation"] - shares["test"], **shares}
            parts[among] = split_groups(groups.split[among], strata, fractions, settings.seed)

    free = usable & (top == _FREE)
    deal_out(usable & (top == _TRAIN), {**shares, "test": 0.0})
    deal_out(free, shares)
    needs_validation = has_validation or settings.validation > 0
    needs_test = has_test or (settings.test > 0 and bool(free.any()))  # whoever gives all parts may give none to test
    _check_none_empty(parts, ["train", *["validation"] * needs_validation, *["test"] * needs_test])
    return parts, int(moved_out.sum())


def taken_out(entries: Sequence[Entry]) -> Mask:
    """Marks the images that a table leaves out: no copy of theirs is judged by them."""
    return np.array([entry.given_part == "left_out" for entry in entries])


def _rank(entry: Entry, settings: SplitSettings) -> int:
    official_test = settings.official_test and entry.official_split == "test"
    return _TEST if official_test else _RANKS.get(entry.given_part or "", _FREE)


def _check_none_empty(parts: npt.NDArray[np.str_], needed: Sequence[str]) -> None:
    for name in needed:
        if not (parts == name).any():
            raise DataError(
                f"split: {name} must get at least one image; got none of {len(parts)}. Add images or change the shares."
            )


def class_index(label: str, classes: tuple[str, ...]) -> int:
    """Returns a label's index, where any tumour is ``tumor`` for a binary study."""
    if classes == BINARY_CLASSES and label != "no_tumor":
        label = UNTYPED_TUMOR
    return classes.index(label)


def has_class(entries: Sequence[Entry], settings: SplitSettings) -> Mask:
    """Marks the images whose label is a class; an untyped tumour is one for a binary study alone."""
    return np.array([settings.binary or entry.label != UNTYPED_TUMOR for entry in entries])


def _usable(entries: Sequence[Entry], groups: Groups, settings: SplitSettings) -> Mask:
    """Marks the images whose labels let them into training, validation or a test part of our own."""
    usable = has_class(entries, settings)
    if settings.conflicts == "leave-out":
        usable &= ~np.isin(groups.images, conflicting_groups(entries, groups.images, settings.binary))
    return usable


def _without_copies(entries: Sequence[Entry], groups: Groups, settings: SplitSettings, usable: Mask) -> Mask:
    """Marks those of the usable images that the policy for copies keeps."""
    if settings.duplicates == "keep-best":
        return _best_of_group(entries, groups.images, usable)
    occurs = np.bincount(groups.images[~taken_out(entries)], minlength=len(entries))[groups.images]
    return usable & (occurs == 1) if settings.duplicates == "drop" else usable


def conflicting_groups(entries: Sequence[Entry], groups: npt.NDArray[np.int64], binary: bool = False) -> list[int]:
    """Returns the groups whose members cannot all be right, those that are taken out by hand aside.

    An untyped tumour agrees with every type of tumour.
    """
    labels: dict[int, set[str]] = {}
    for entry, group in zip(entries, groups.tolist(), strict=True):
        if entry.given_part == "left_out":
            continue
        name = BINARY_CLASSES[class_index(entry.label, BINARY_CLASSES)] if binary else entry.label
        labels.setdefault(group, set()).add(name)
    return [
        group for group, names in labels.items() if len(names - {UNTYPED_TUMOR}) > 1 or names == {"no_tumor", UNTYPED_TUMOR}
    ]


def _best_of_group(entries: Sequence[Entry], groups: npt.NDArray[np.int64], usable: Mask) -> Mask:
    """Marks the usable image with most pixels of each group; among equals the first of the manifest."""
    best: dict[int, int] = {}
    for i in sorted(np.flatnonzero(usable).tolist(), key=lambda i: -entries[i].width * entries[i].height):
        best.setdefault(int(groups[i]), i)
    marked = np.zeros(len(entries), np.bool_)
    marked[list(best.values())] = True
    return marked
