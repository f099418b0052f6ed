"""Which trial should `search export` write? Studies of a known landscape, whose values hold a known amount of noise, or none.

    python -m benchmarks.winner_simulated | tee benchmarks/results/winner_simulated.txt

Random configs of four parameters, one of them conditional. Printed is by how much the likely best config is better on average
than that of the best value, over studies: the luck of neither counts. Then, of studies by TPE of a rugged landscape without
noise, how far down among all values that of the likely best trial is, where it is another one. `benchmarks.winner` asks the
same of the classifier and its test images.
"""

import argparse
import platform
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from search.results.likely_best import likely_best
from search.results.statistics import mean_interval

NOISES, TRIALS = (0.0, 0.002, 0.005, 0.02, 0.05), (20, 40, 100, 300)
SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "units": IntDistribution(1, 64),
    "kind": CategoricalDistribution(["a", "b"]),
    "decay": FloatDistribution(0.0, 1.0),
}


def truth(params: Mapping[str, Any]) -> float:
    """Returns what a config has on average, at most .8."""
    rate, units = np.log10(params["rate"]) + 2, params["units"] - 32
    return float(0.8 - 0.05 * abs(rate) - 0.1 * abs(units) / 63 - 0.1 * (params["kind"] == "b"))


def simulate(
    seed: int, trials: int = 30, noise: float = 0.02, direction: Literal["maximize", "minimize"] = "maximize"
) -> optuna.Study:
    """Returns a study of random configs: the truth, or minus it where less is better, and noise of this standard deviation."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "maximize" else -1
    for _ in range(trials):
        kind = str(rng.choice(["a", "b"]))
        params = {"rate": float(10 ** rng.uniform(-4, 0)), "units": int(rng.integers(1, 65)), "kind": kind}
        if kind == "b":
            params["decay"] = float(rng.uniform())
        add(study, sign * (truth(params) + noise * rng.normal()), **params)
    return study


def add(study: optuna.Study, value: float, **params: Any) -> None:
    """Adds a COMPLETE trial."""
    study.add_trial(create_trial(value=value, params=params, distributions={name: SPACE[name] for name in params}))


def search_rastrigin(seed: int, trials: int) -> optuna.Study:
    """Returns a study by Optuna's TPE of a landscape with ten valleys along each parameter. Less is better."""

    def rastrigin(trial: optuna.Trial) -> float:
        places = np.array([trial.suggest_float(f"x{at}", -5.12, 5.12) for at in range(4)])
        return float((places**2 - 10 * np.cos(2 * np.pi * places) + 10).sum())

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(rastrigin, trials)
    return study


def _place(study: optuna.Study) -> int:
    """Returns the place among all values, 1 for the best, of the trial that `search export` writes."""
    winner = likely_best(study)
    losses = np.array([trial.value for trial in study.trials])
    return 1 + int((losses < winner.trial.value).sum()) if winner is not None else 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.winner_simulated", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("noise   trials  another trial  better by, 95%      worst")
    for noise in NOISES:
        for trials in TRIALS:
            gains = []
            for seed in range(arguments.studies):
                winner = likely_best(simulate(seed, trials, noise))
                gains.append(truth(winner.trial.params) - truth(winner.luckiest.params) if winner is not None else 0.0)
            others = sum(gain != 0 for gain in gains)
            by = mean_interval(gains).signed()
            print(f"{noise:<7.3g} {trials:<7} {others:>3} of {len(gains):<7} {by:<19} {min(gains):+.4f}", flush=True)
    print("\nRastrigin's function of four parameters, no noise\ntrials  another trial  places of their values")
    for trials in TRIALS[:3]:
        places = sorted(_place(search_rastrigin(seed, trials)) for seed in range(arguments.studies))
        lower = [str(place) for place in places if place > 1]
        print(f"{trials:<7} {len(lower):>3} of {len(places):<7} {', '.join(lower) or '-'}", flush=True)
    print(f"\n{platform.machine()}, Python {platform.python_version()}, Optuna {optuna.__version__}, NumPy {np.__version__}")


if __name__ == "__main__":
    main()
