"""Private names of other packages, Optuna's above all, are used by one module."""

import ast
import inspect
import re
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

import search
from search import optuna_internals
from search.records import optuna_keys
from search.records.constraints import key_of

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


def made_of_optunas():
    """Each class of `optuna_internals` that is made of one of Optuna's."""
    for made in vars(optuna_internals).values():
        if isinstance(made, type) and made.__module__ == optuna_internals.__name__ and optunas(made):
            yield made


def optunas(made):
    return [base for base in made.__mro__ if base.__module__.startswith("optuna.")]


@pytest.mark.parametrize("made", list(made_of_optunas()), ids=lambda made: made.__name__)
def test_a_private_method_that_is_overridden_is_one_that_optuna_has_and_calls(made):
    """One that Optuna has renamed would never be called: trials would be drawn, or read, as if it were not there."""
    overridden = {name for name, member in vars(made).items() if PRIVATE.match(name) and inspect.isfunction(member)}
    for name in overridden:
        theirs = next((base for base in optunas(made) if name in vars(base)), None)
        assert theirs is not None, f"Optuna {optuna.__version__} has no {name}"
        ours, before = inspect.signature(getattr(made, name)), inspect.signature(vars(theirs)[name])
        assert list(ours.parameters) == list(before.parameters)
        folder = Path(optuna.__file__).parent
        assert any(f".{name}(" in source.read_text() for source in folder.rglob("*.py")), f"Optuna calls no {name}"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_attributes_are_called_as_optuna_calls_them():
    study = optuna.create_study()
    study.enqueue_trial({"x": 1.0})
    study.add_trial(create_trial(state=TrialState.FAIL, constraints={"size": 1.0}))
    optuna.storages.RetryHeartbeatStaleTrialCallback()(study, study.trials[1])
    given, constrained, again = study.trials
    assert given.system_attrs == {optuna_keys.FIXED_PARAMS: {"x": 1.0}}
    assert constrained.system_attrs == {key_of("size"): 1.0} == {f"{optuna_keys.CONSTRAINTS}:size": 1.0}
    assert again.system_attrs[optuna_keys.FAILED_TRIAL] == 1
    assert create_trial(value=0.0, system_attrs={optuna_keys.CONSTRAINTS: [2.0]}).constraints == {"0": 2.0}
