"""The one module that uses private names of TensorFlow; where it has them no longer, nothing is done."""

import contextlib
import sys
import threading
from collections.abc import Collection, Iterator
from typing import Any

_lock = threading.Lock()
_inside = 0
_before: frozenset[str] = frozenset()


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """Has TensorFlow forget, after the block, the custom gradients of what was traced in it.

    Each trace of EfficientNetB0 registers one for each of its activations, under a name of its own, which keeps the whole graph
    for as long as the process lives (github.com/tensorflow/tensorflow/issues/97697): some 50 MB a program. It serves
    whoever differentiates a graph that was traced before; here a step of training is traced together with its gradient. What
    was traced before is left alone, and of blocks that run side by side the last one forgets what was traced since the first
    began: what another thread traced meanwhile too, which cannot be differentiated after.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = frozenset(_registered())
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                forget_gradients(_before)


def forget_gradients(kept: Collection[str] = ()) -> None:
    """Has TensorFlow forget the custom gradients of all that was traced, but those with the names that are kept."""
    gradients = _registered()
    for name in [name for name in gradients if name.startswith("CustomGradient-") and name not in kept]:
        del gradients[name]


def _registered() -> dict[str, Any]:
    """Returns TensorFlow's registry of gradients by name, itself; an empty one where there is none."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})
