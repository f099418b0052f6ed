"""Imports a backend and Keras: quietly, and in less time than they would take by themselves (`benchmarks/start_cost.py`)."""

import contextlib
import gc
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

from tumorcls.errors import BackendError, reason

_GREETING = re.compile(rb"I\d{4} |WARNING: All log messages before absl::InitializeLog")
"""Lines of TensorFlow's libraries that only inform."""

_AT_FIRST_USE = frozenset({"keras.wrappers", "keras._tf_keras.keras.wrappers"})
"""Keras's wrappers for scikit-learn, which import it, and with it SciPy's statistics."""


def load(module: str, *, without: str | None = None) -> None:
    """Imports a module whose libraries greet on stderr as they are loaded, before any setting of theirs is read.

    Nothing is done where it has been imported. Its warnings and errors are passed on. An import that fails is left to Keras,
    which says how. The package `without` is hidden from it: one that it would import if it found it, and does not need.

    Raises:
        BackendError: There is no room for temporary files.
    """
    if module in sys.modules:
        return
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:  # TensorFlow's own import ends in a traceback then
        rule = "a folder for temporary files must have room"
        raise BackendError(f"{module}: {rule}; got {reason(error)}. Set TMPDIR to one that has.") from None
    try:
        stderr = os.dup(2)
    except OSError:  # there is none to keep quiet
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            with contextlib.suppress(ImportError), _kept_from_collection(), _some_at_first_use(), _hidden(without):
                importlib.import_module(module)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            with contextlib.suppress(OSError):  # a log on a full disk, or a reader that has gone
                os.write(2, b"".join(line for line in written if not _GREETING.match(line)))


@contextlib.contextmanager
def _kept_from_collection() -> Iterator[None]:
    """Has Python look for garbage neither during a large import nor, later, among what it made.

    TensorFlow makes a million objects that stay. To go through them again and again takes a sixth of the time until a first
    trial has ended.
    """
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
        if not hasattr(sys, "ps1"):  # in a notebook it would be for what is a user's, and goes, too
            gc.freeze()
    finally:
        if collects:
            gc.enable()


class _Finder(MetaPathFinder):
    """Has some modules run only when something of them is used."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns where a module is, which its import only notes."""
        if fullname not in _AT_FIRST_USE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def _some_at_first_use() -> Iterator[None]:
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _hidden(package: str | None) -> Iterator[None]:
    """Has imports in the block not find a package, unless it is there already."""
    if package is None or package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # how Python says so
    try:
        yield
    finally:
        del sys.modules[package]
