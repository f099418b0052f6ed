"""What CMA-ES takes up of what a storage holds: an optimizer, as plain Optuna would; nothing else, and nothing is run."""

import pickle
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from search.errors import StorageError
from search.seeds import Stream, derive
from search.study_file import own_class, samplers

cmaes = pytest.importorskip("cmaes")

SPACE = {"x": FloatDistribution(-3, 3), "y": FloatDistribution(0, 5), "n": IntDistribution(1, 9)}
KINDS = {
    "cma": ({}, cmaes.CMA),
    "sepcma": ({"use_separable_cma": True}, cmaes.SepCMA),
    "cmawm": ({"with_margin": True}, cmaes.CMAwM),
}
NAMES = ("cmaes", "optuna.samplers:CmaEsSampler", f"{__name__}:Derived")


class Derived(optuna.samplers.CmaEsSampler):
    """As a study file may name it."""


class Own(optuna.samplers.CmaEsSampler):
    """One that has its optimizer from elsewhere."""

    def _restore_optimizer(self, completed_trials):
        return cmaes.CMA(mean=np.zeros(3), sigma=1.0)


class Planted:
    """What is run where its pickle is read."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('planted').touch()",)


def make(name="cmaes", index=0, **options):
    return samplers.make(name, options, study_seed=7, trial_index=index)


def tell(study):
    trial = study.ask(fixed_distributions=SPACE)
    x, y, n = trial.params.values()
    study.tell(trial, (x - 1) ** 2 + (y - 2) ** 2 + abs(n - 4))


def holding(content, kind="cma", **parts):
    """A study with a trial that has this for an optimizer."""
    study = optuna.create_study()
    attrs = {f"{kind}:optimizer:0": content.hex() if isinstance(content, bytes) else content, **parts}
    params = {"x": 0.5, "y": 0.5, "n": 3}
    study.add_trial(create_trial(value=1.0, params=params, distributions=SPACE, system_attrs=attrs))
    return study


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_each_trial_draws_what_it_would_in_plain_optuna(name, kind):
    options, optimizer = KINDS[kind]
    ours, plain = optuna.create_study(), optuna.create_study()
    for index in range(20):
        ours.sampler = make(name, index, **options)
        plain.sampler = optuna.samplers.CmaEsSampler(
            seed=derive(7, Stream.SAMPLER, index), warn_independent_sampling=False, **options
        )
        tell(ours)
        tell(plain)
    assert [trial.params for trial in ours.trials] == [trial.params for trial in plain.trials]
    restored = make(name, **options)._restore_optimizer(ours.trials)
    assert type(restored) is optimizer
    assert restored.generation >= 2  # it was taken up again


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_an_optimizer_of_other_versions_of_python_and_numpy_is_taken_up(protocol, core):
    optimizer = cmaes.CMA(mean=np.zeros(3), sigma=1.0)
    content = pickle.dumps(optimizer, protocol)
    if protocol == 3:  # later ones have the length of a name before it
        content = content.replace(b"numpy._core", core)
    restored = make()._restore_optimizer(holding(content).trials)
    assert type(restored) is cmaes.CMA
    assert np.array_equal(restored._mean, optimizer._mean)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_nothing_is_run(name, kind, folder):
    study = holding(pickle.dumps(Planted()), kind)
    study.sampler = make(name, 1, **KINDS[kind][0])
    with pytest.raises(StorageError) as caught:
        tell(study)
    assert str(caught.value) == (
        "trial 0: what the sampler cmaes keeps must be its optimizer alone; got UnpicklingError: builtins.exec. "
        "Restore the storage from a copy, or add --as NAME to start another study."
    )
    assert not Path("planted").exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"garbage", "UnpicklingError: "),
        (
            b"\x80\x04\x8c\x0acmaes._cma\x8c\x18CMA.__init__.__globals__\x93.",
            "cmaes._cma.CMA.__init__.__globals__",
        ),
        (b"cbuiltins\neval\n(V1+1\ntR.", "UnpicklingError: builtins.eval"),
        (b"cnumpy\nload\n.", "UnpicklingError: numpy.load"),
        (b"ccmaes._cma\nCMA\n.", "a value of type type"),
        (pickle.dumps(np.zeros(3)), "a value of type ndarray"),
        (pickle.dumps({"dim": 3}), "a value of type dict"),
        (b"", "EOFError: "),
        ("no hex", "ValueError: "),
        (3, "ValueError: "),
        (None, "ValueError: "),
    ],
)
def test_what_is_no_optimizer_is_one_line(content, got):
    with pytest.raises(StorageError) as caught:
        make()._restore_optimizer(holding(content).trials)
    assert "; got " in str(caught.value)
    assert got in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_part_that_is_missing_is_one_line():
    study = holding(pickle.dumps(cmaes.CMA(mean=np.zeros(3), sigma=1.0)), **{"cma:optimizer:2": "00"})
    with pytest.raises(StorageError, match="must be its optimizer alone; got ValueError"):
        make()._restore_optimizer(study.trials)


def test_a_class_that_overrides_how_it_reads_keeps_to_that():
    found = own_class.find_class(f"{__name__}:Own", optuna.samplers.BaseSampler)
    assert found()._restore_optimizer([]).dim == 3
