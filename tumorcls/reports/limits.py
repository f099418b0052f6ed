"""What an answer does not say, a sentence each, for whoever looks at one."""

from collections.abc import Sequence

from tumorcls.data.labels import CLASSES, exact_percent, words
from tumorcls.noise.kinds import NOISES, SEED_NOISES

_OF_SCANNERS = (*(name for name in NOISES if name not in SEED_NOISES), "motion_blur")
"""Corruptions that imitate what an MR scanner mostly does."""


def other_diseases(classes: Sequence[str]) -> str:
    """Returns what becomes of a scan that shows none of the classes."""
    *first, last = map(words, classes)
    metastasis = "a metastasis, " if tuple(classes) == CLASSES else ""  # "tumor" is right of one
    return (
        f"The model knows only {', '.join(first)} and {last}: {metastasis}an abscess, a stroke, a bleeding, multiple "
        "sclerosis, an operated brain or whatever else a scan shows gets one of these names too, however sure the answer."
    )


NOT_OF_ONE = "That is no probability for one image or patient, and what a list lacks is not excluded."


def sets_of_classes(coverage: float, *, taken_over: bool = False) -> str:
    """Returns what a list "not ruled out" promises, made for a share of lists in (0, 1), by this network or `taken_over`."""
    first = ", and with a first network trained without those: of this one, which has trained on them, nothing is promised"
    return (
        f'Lists "not ruled out" are made so that {exact_percent(coverage)} of them hold the true class, over images like the '
        f"validation images{first if taken_over else ''}. {NOT_OF_ONE}"
    )


def one_slice(number: int | None = None, count: int | None = None) -> str:
    """Returns what is left open where one slice of a volume was read, of all volumes or of a certain slice."""
    which = "" if number is None else f" ({number} of {count})"
    return f"Of a volume one slice was read{which}: a tumour may lie in another."


COUNTED_SLICES = "A count of slices is no answer for a patient."


def map_grid(cells: int, side: int) -> str:
    """Returns how coarse a class activation map is, of so many cells a side for an image of `side` pixels."""
    return (
        f"The map has {cells} by {cells} cells, each {round(side / cells)} of the picture's {side} pixels wide, drawn smooth: "
        "no outline."
    )


def noises(names: Sequence[str]) -> str:
    """Returns which noises these are, and which of those that MR scanners mostly have is none of them."""
    *first, last = map(words, names)
    which = f"noises are {', '.join(first)} and {last}" if first else f"noise is {last}"
    lacking = ", ".join(words(name) for name in _OF_SCANNERS if name not in names)
    return f"The {which}, drawn on finished pictures. Of what MR scanners mostly do, these are lacking: {lacking}."
