"""Private names of other packages, Optuna's above all, are used by one module."""

import ast
import re
from pathlib import Path

import pytest

import search

ROOT = Path(search.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "optuna_internals.py")
# `os._exit` is documented; what Ray prints of a lost node has no option, and Python's exit none to leave a child behind.
ALLOWED = {("workers/process.py", "_exit"), ("workers/ray.py", "_private")}
ALLOWED |= {("workers/local.py", "_children"), ("workers/local.py", "_resource_tracker")}
PRIVATE = re.compile(r"_[^_]")


def private_names(tree):
    """The private attributes that a module uses and does not define, and the private modules and names that it imports."""
    defined = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                defined.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self")):
                defined.add(name)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if PRIVATE.match(name) and name not in defined:
                yield name
            case ast.ImportFrom(module=module, names=names) if not (module or "").startswith("search"):
                yield from (part for part in (module or "").split(".") if PRIVATE.match(part))
                yield from (each.name for each in names if PRIVATE.match(each.name))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_are_those_of_the_module_itself(path):
    name = str(path.relative_to(ROOT))
    used = {each for each in private_names(ast.parse(path.read_text())) if (name, each) not in ALLOWED}
    assert used == set()
