"""The four classes in their fixed order, and how names are read: a label's index is its place here.

The order is alphabetical and never follows the order of folders on a disk. A model saved by this package carries it inside.
"""

BINARY_CLASSES = ("no_tumor", "tumor")
"""Class names of a binary study, in the order of their indices."""

CLASSES: tuple[str, ...] = ("glioma", "meningioma", "no_tumor", "pituitary")
"""Class names; a label's index is its position here."""

UNTYPED_TUMOR = "tumor"
"""Label of an image that shows a tumour of unknown or other type (Br35H's ``yes/``): used by binary studies alone."""

LABELS = ", ".join((*CLASSES, UNTYPED_TUMOR))
OTHER_LABELS = (
    "This classifier knows four classes, or two with split.binary = true: call other tumours tumor for these, "
    "or see docs/search-your-own-model.md for classes of your own."
)
"""The last sentence of the remedy for a label that is none of `LABELS`."""

# What data sets call the classes, reduced to lower-case letters (see `label_of`).
_ALIASES = {
    **dict.fromkeys(("glioma", "gliomatumor"), "glioma"),
    **dict.fromkeys(("meningioma", "meningiomatumor"), "meningioma"),
    **dict.fromkeys(("no", "notumor", "none", "normal", "healthy"), "no_tumor"),
    **dict.fromkeys(("pituitary", "pituitarytumor"), "pituitary"),
    "tumor": UNTYPED_TUMOR,
}


def label_of(name: str) -> str | None:
    """Returns the class, or `UNTYPED_TUMOR`, that the name of a folder or in a table stands for; None where it is not known.

    Case, digits, blanks and punctuation do not matter and British spelling is accepted:
    ``"Pituitary_Tumour"`` -> ``"pituitary"``.
    """
    letters = "".join(c for c in name.lower() if c.isalpha()).replace("tumour", "tumor")
    return _ALIASES.get(letters)


def counted(count: int, noun: str) -> str:
    """Returns a number of things: ``1 image``, ``1,200 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Returns a share that was measured, in whole per cent; nearly all is not 100%, and nearly none not 0%."""
    if 0.995 <= share < 1:
        return ">99%"
    return "<1%" if 0 < share <= 0.005 else f"{share:.0%}"


def probability(share: float) -> str:
    """Returns a probability with three decimals; one below 1 is not 1.000, and one above 0 not 0.000."""
    shown = f"{share:.3f}"
    return {"0.000": "<0.001", "1.000": ">0.999"}.get(shown, shown) if 0 < share < 1 else shown


def exact_percent(share: float) -> str:
    """Returns a share that was asked for, in per cent, with all its digits."""
    return f"{100 * share:.10g}%"


def words(name: str) -> str:
    """Returns the name of a class, a noise or a setting as it is read: ``salt_pepper`` -> ``salt pepper``."""
    return name.replace("_", " ")
