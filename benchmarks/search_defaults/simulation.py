"""A search of `search` on predicted learning curves, against a clock that counts what its trials would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from benchmarks.search_defaults.curves import Curve, spec_of
from benchmarks.search_quality.records import Finished, Run
from search.driver.ask import TrialSource
from search.driver.legs import leg_of
from search.driver.tell import tell
from search.errors import StudyFileError
from search.study_file import pruners
from search.workers.protocol import Outcome

TRIALS = 30
"""A run has time for so many random trials."""

ASK_S = 0.02
"""Seconds that drawing a trial takes."""

_TPE = '[sampler]\nname = "tpe"\n'
_PLAIN = "initial_design = false\n"

CANDIDATES = {
    "the defaults": "",
    "ten trials, then TPE": f"{_TPE}n_startup_trials = 10",
    "four trials, then TPE": f"{_TPE}n_startup_trials = 4",
    "six random, then TPE": f"{_TPE}{_PLAIN}n_startup_trials = 6",
    "TPE that weighs cost": f"{_TPE}cost = true",
    "TPE, 200 candidates": f"{_TPE}n_ei_candidates = 200",
    "TPE, each parameter alone": f"{_TPE}multivariate = false\ngroup = false",
    "pruner: none": '[pruner]\nname = "none"',
    "pruner: median": '[pruner]\nname = "median"',
    "pruner: hyperband": '[pruner]\nname = "hyperband"\nmax_resource = 16',
    "ten random, TPE, median": f'{_TPE}{_PLAIN}n_startup_trials = 10\n[pruner]\nname = "median"',
    "random, pruner: none": '[sampler]\nname = "random"\n[pruner]\nname = "none"',
}
"""What a study file says of its sampler and its pruner."""


@dataclass(frozen=True)
class Simulated:
    """How a run went; `expected` is what its best config scores without luck."""

    area: float
    best: float
    expected: float
    trials: int
    pruned: int


@dataclass(frozen=True)
class Landscape:
    """What configs report, and how long they take, learned from trained ones.

    Attributes:
        forest: Predicts a report from a config and the step.
        names: The parameters of a config, in the order in which the forest takes them.
        noise: Standard deviation of a trial's reports; half of the variance is the trial's, half each report's own.
        costs: Seconds of a trial, an epoch and a batch.
        quality: The forest's R² on curves that it has not seen.
        best: The best final value among the trained configs.
        mean_s: What a random trial takes.
    """

    forest: Any
    names: tuple[str, ...]
    noise: float
    costs: NDArray[np.float64]
    quality: float
    best: float
    mean_s: float

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> "Landscape":
        held_out = [curve for at, curve in enumerate(curves) if at % 5 == 0]
        kept = [curve for at, curve in enumerate(curves) if at % 5]
        forest = _forest(kept)
        predicted = forest.predict(_rows(held_out))
        told = np.concatenate([curve.values for curve in held_out])
        # Half of the residuals' standard deviation, robustly; the other half is taken to be the forest's own error.
        noise = 0.5 * 1.4826 * float(np.median(np.abs(predicted - told)))
        costs, *_ = np.linalg.lstsq(np.array([_work(curve.params) for curve in curves]), [curve.seconds for curve in curves])
        return cls(
            forest=_forest(curves),
            names=tuple(curves[0].params),
            noise=noise,
            costs=np.maximum(costs, 0.0),
            quality=1 - float(np.var(told - predicted) / np.var(told)),
            best=max(curve.values[-1] for curve in curves),
            mean_s=float(np.mean([curve.seconds for curve in curves])),
        )

    @property
    def seconds(self) -> float:
        """Of a run."""
        return TRIALS * self.mean_s

    def told(self, seeds: int) -> str:
        return (
            f"R² {self.quality:.2f}, noise {self.noise:.3f}, best of the trained configs {self.best:.3f}, "
            f"{self.seconds:.0f} s a run, {seeds} seeds"
        )

    def expected(self, params: dict[str, Any], epochs: int | None = None) -> NDArray[np.float64]:
        """Returns the reports of a config without luck, in so many epochs instead of its own."""
        given = {**params, "epochs": epochs or params["epochs"]}
        config = {name: given[name] for name in self.names}
        predicted: NDArray[np.float64] = self.forest.predict(_rows([Curve(config, [0.0] * config["epochs"], 0.0)]))
        return predicted

    def epoch_s(self, params: dict[str, Any]) -> float:
        return float(_work(params) @ self.costs - self.costs[0]) / int(params["epochs"])


_landscape: Landscape
"""Of this process."""


def goes_with(space: str, tables: str) -> bool:
    """Returns whether a study file takes a candidate: a fidelity does what a pruner does."""
    try:
        spec_of(space, tables)
    except StudyFileError:
        return False
    return True


def begin(landscape: Landscape) -> None:
    global _landscape
    _landscape = landscape


def search(space: str, tables: str, seed: int) -> Simulated:
    """Simulates one launch with one worker."""
    landscape = _landscape
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = spec_of(space, tables, seed)
    # Named, since hyperband's brackets hang on the name.
    pruner = pruners.make(spec.pruner.name, spec.pruner.options)
    study = optuna.create_study(study_name=spec.name, direction="maximize", pruner=pruner)
    asker = TrialSource(study, spec)
    highest = spec.fidelity.rungs[-1] if spec.fidelity is not None else None
    clock, finished = 0.0, []
    while clock < landscape.seconds:
        began = clock
        trial = asker.ask({}, budget_left=1 - clock / landscape.seconds)
        assert trial is not None
        leg = leg_of(trial, spec.fidelity)
        params = trial.params if leg is None else {**trial.params, leg.fidelity.name: leg.target}
        done, target = (0 if leg is None else max(leg.rungs, default=0)), int(params["epochs"])
        rng = np.random.default_rng([seed, trial.number])
        values = landscape.expected(params, highest)
        values = values + landscape.noise * np.sqrt(0.5) * (rng.normal() + rng.normal(size=len(values)))
        clock += ASK_S + landscape.costs[0]
        pruned = False
        for step in range(done, target):
            clock += landscape.epoch_s(params)
            trial.report(values[step], step)
            pruned = leg is None and step < target - 1 and trial.should_prune()
            if pruned:
                break
        value, ran_s = float(values[target - 1]), float(clock - began)
        if leg is not None:
            ran_s += leg.earlier_s
        outcome = Outcome(trial.number, "pruned") if pruned else Outcome(trial.number, "complete", (value,))
        tell(trial, outcome, spec, death=None, fresh=False, ran_s=ran_s, leg=leg)
        if not pruned and clock <= landscape.seconds:
            finished.append(Finished(clock, value, dict(params), seed))
    run = Run.of("simulated", seed, len(study.trials), finished)
    assert run.winner is not None
    return Simulated(
        area=run.area(landscape.seconds),
        best=run.winner.value,
        expected=float(landscape.expected(run.winner.params, highest)[run.winner.params["epochs"] - 1]),
        trials=run.begun,
        pruned=sum(trial.state is TrialState.PRUNED for trial in study.trials),
    )


def _forest(curves: Sequence[Curve]) -> Any:
    words = [name for name, value in curves[0].params.items() if isinstance(value, str)]
    at = [list(curves[0].params).index(name) for name in words]
    encode = make_column_transformer((OrdinalEncoder(), at), remainder="passthrough")
    forest = make_pipeline(encode, ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0))
    return forest.fit(_rows(curves), np.concatenate([curve.values for curve in curves]))


def _rows(curves: Sequence[Curve]) -> NDArray[Any]:
    """A row for each report: the config, the step, its share of all steps, and how far the learning rate has come by then."""
    rows = []
    for curve in curves:
        epochs = curve.params["epochs"]
        rate = np.log(curve.params["learning_rate"] / curve.params["batch_size"])
        rows += [[*curve.params.values(), step, step / epochs, rate, rate + np.log(step + 1)] for step in range(epochs)]
    return np.array(rows, dtype=object)


def _work(params: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([1.0, params["epochs"], params["epochs"] / params["batch_size"]])
