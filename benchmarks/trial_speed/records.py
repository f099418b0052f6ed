"""What is written down of a contender, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        ended: Seconds since the epoch.
        epochs: Trained in this trial.
        steps_s: Seconds in training steps and validation.
        score: Validation macro-F1 on clean images after the last epoch.
    """

    ended: float
    epochs: int
    steps_s: float
    score: float


@dataclass(frozen=True)
class Sample:
    """Resident memory of a process and its children, in MiB, at a time in seconds since the epoch."""

    time: float
    mib: float


@dataclass(frozen=True)
class Contender:
    """All that was measured of one contender.

    Attributes:
        started: When the clock starts. For this project: as the command is launched. For the peers: as their search is
            called, with everything imported and the data in memory.
        trials: In order.
        memory: Samples over its whole life.
    """

    name: str
    started: float
    trials: Sequence[TrialRecord]
    memory: Sequence[Sample]

    def wall_s(self) -> float:
        return self.trials[-1].ended - self.started

    def whole_trials(self, epochs: int) -> float:
        """Epochs trained over epochs of a whole trial: Hyperband's trials are shorter than the others'."""
        return sum(trial.epochs for trial in self.trials) / epochs

    def trials_per_hour(self, epochs: int) -> float:
        return 3600 * self.whole_trials(epochs) / self.wall_s()

    def seconds_outside(self) -> list[float]:
        """For each trial, from the previous one's end to its own, less training steps and validation."""
        ends = [self.started, *(trial.ended for trial in self.trials)]
        return [end - before - trial.steps_s for (before, end), trial in zip(pairwise(ends), self.trials, strict=True)]

    def outside_from_second(self) -> float | None:
        later = self.seconds_outside()[1:]
        return mean(later) if later else None

    def peak_mib(self) -> float:
        return max(sample.mib for sample in self.memory)

    def memory_after_trials(self) -> list[float]:
        """MiB at the end of each trial."""
        return [max((s for s in self.memory if s.time <= trial.ended), key=lambda s: s.time).mib for trial in self.trials]

    def growth_mib(self) -> float | None:
        """MiB a trial, from the end of the second trial to the end of the last."""
        after = self.memory_after_trials()
        return (after[-1] - after[1]) / (len(after) - 2) if len(after) > 2 else None

    def best_by_time(self) -> list[tuple[float, float]]:
        """The best score so far after each trial, by seconds since the start."""
        best, steps = 0.0, []
        for trial in self.trials:
            best = max(best, trial.score)
            steps.append((trial.ended - self.started, best))
        return steps
