"""Optuna's CMA-ES, which takes up an optimizer that a storage holds and nothing else.

It is kept with a trial as a pickle, which runs whatever it names when it is read; and somebody else may have written that.
"""

import io
import pickle
from typing import Any

from optuna.samplers import CmaEsSampler

from search.errors import StorageError
from search.optuna_internals import OpenCmaEsSampler
from search.text import error_line

_OPTIMIZERS = frozenset({("cmaes._cma", "CMA"), ("cmaes._sepcma", "SepCMA"), ("cmaes._cmawm", "CMAwM")})
_ARRAYS = frozenset(
    {("numpy", "ndarray"), ("numpy", "dtype")}
    | {(f"numpy.{core}.multiarray", name) for core in ("_core", "core") for name in ("_reconstruct", "scalar")}
    | {(f"numpy.{core}.numeric", "_frombuffer") for core in ("_core", "core")}  # as Python 3.14 writes an array
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns what a pickle names, where an optimizer is made of it."""
        if (module, name) not in _OPTIMIZERS | _ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


class SafeCmaEsSampler(OpenCmaEsSampler):
    """Optuna's CMA-ES, but for what it reads."""

    def read_optimizer(self, text: str, number: int) -> Any:
        """Returns an optimizer of the package cmaes.

        Raises:
            StorageError: What the trial has is none, or names anything else.
        """
        try:
            optimizer = _Unpickler(io.BytesIO(bytes.fromhex(text))).load()
            kind = type(optimizer)
            if (kind.__module__, kind.__name__) in _OPTIMIZERS:
                return optimizer
            got = f"a value of type {kind.__name__}"
        except Exception as error:  # whatever a pickle that is none leads to
            got = f"{type(error).__name__}: {error_line(error)}"
        raise StorageError(
            f"trial {number}: what the sampler cmaes keeps must be its optimizer alone; got {got}. "
            "Restore the storage from a copy, or add --as NAME to start another study."
        )


def safe(sampler: type) -> type:
    """Returns a class of samplers; of Optuna's CMA-ES, or what derives from it, one that reads as `SafeCmaEsSampler` does.

    What it overrides of that itself stays its own.
    """
    if not issubclass(sampler, CmaEsSampler):
        return sampler
    bases = (SafeCmaEsSampler,) if sampler is CmaEsSampler else (sampler, SafeCmaEsSampler)
    return type(sampler.__name__, bases, {"__module__": sampler.__module__})
