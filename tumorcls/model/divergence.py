"""A training that diverges ends there: of numbers that are not finite nothing is measured, and no model is made."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorcls.errors import TrainingDivergedError


def check_finite(what: str, *values: ArrayLike) -> None:
    """Ends a training that has diverged: its class of the highest logit would be the first one, for every image.

    Raises:
        TrainingDivergedError: A value is infinite or not a number; the error begins with `what` the values are, and when.
    """
    for value in values:
        numbers: NDArray[Any] = np.asarray(value)
        if not (finite := np.isfinite(numbers)).all():
            got = f"{numbers[~finite].flat[0]}"
            raise TrainingDivergedError(f"{what} must stay finite; got {got}. Lower learning_rate.")


@contextmanager
def naming_run(name: str) -> Iterator[None]:
    """Has a training that diverges say which of several it is."""
    try:
        yield
    except TrainingDivergedError as error:
        raise TrainingDivergedError(f"{name}: {error}") from error
