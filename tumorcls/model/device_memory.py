"""Memory that runs out is one line: TensorFlow tells it below pages of where the network was traced, and JAX not of what."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tumorcls.errors import DeviceMemoryError, TumorclsError, one_line
from tumorcls.model.backend import device_name

# Of TensorFlow's kernels, of its allocator and XLA, of CUDA: to the end of the line.
_SAID = re.compile(r"(?:OOM when allocating|RESOURCE_EXHAUSTED|out.of.memory).*", re.IGNORECASE)

USED_ELSEWHERE = "See what else uses it, or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
FOR_A_STEP = "Lower batch_size or image_size, train fewer blocks (trainable_from), or see what else uses its memory"
_REMEDY = "Lower image_size, or see what else uses its memory"


@contextmanager
def naming_what_must_fit(what: str, remedy: str = _REMEDY) -> Iterator[None]:
    """Has memory that runs out of a backend's device say which device it is, and `what` its memory had to hold.

    Raises:
        DeviceMemoryError: From the backend's own error.
    """
    try:
        yield
    except Exception as error:
        said = None if isinstance(error, TumorclsError) else _SAID.search(str(error))
        if said is None:
            raise
        got = one_line(said[0]).rstrip(".")
        raise DeviceMemoryError(f"{device_name()}: its memory must hold {what}; got: {got}. {remedy}.") from error
