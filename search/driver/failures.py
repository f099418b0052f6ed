"""When a launch gives up: too many trials fail or run out of memory in a row, or its workers cannot start."""

from search.driver.tell import Verdict
from search.errors import ObjectiveError, WorkerError
from search.workers.protocol import Died

_FEWEST_INFEASIBLE = 10  # in a row: where half of the space needs too much memory, that is as likely as one in a thousand


class Failures:
    """Counts what fails in a row.

    Args:
        target: The objective, as ``module:attribute``.
        limit: So many failures in a row end the launch, and so many configs for which memory runs out, if they are ten.
    """

    def __init__(self, target: str, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._proven = False  # a worker of this launch has built the objective
        self._starts = 0
        self._trials = 0
        self._infeasible = 0

    def worker_started(self) -> None:
        """A worker has built the objective."""
        self._proven, self._starts = True, 0

    def start_failed(self, reason: str) -> None:
        """A worker could not build the objective; where others could, only its `Died`, which follows, counts.

        Raises:
            ObjectiveError: None has built it yet.
        """
        if not self._proven:
            raise ObjectiveError(reason)

    def died_at_start(self, worker: int, death: Died) -> None:
        """A worker died before it was ready. Where others start, it may too, once these have given back some memory.

        Raises:
            WorkerError: It was the first one, or too many died in a row.
        """
        self._starts += 1
        if not self._proven or self._starts >= self._limit:
            raise WorkerError(f"worker {worker}: must start; got: {death.reason}")

    def trial_ended(self, verdict: Verdict) -> None:
        """A trial has ended.

        Raises:
            ObjectiveError: Too many failed in a row.
            WorkerError: For too many in a row there was not enough memory.
        """
        if verdict.state in ("complete", "pruned", "paused"):
            self._trials = self._infeasible = 0
        elif verdict.state == "failed":
            self._trials += 1
            if self._trials >= self._limit:
                raise ObjectiveError(
                    f"objective {self._target}: {self._trials} trials in a row failed, "
                    f"the last one (trial {verdict.number}) because: {verdict.reason}"
                )
        elif verdict.state == "infeasible":
            self._infeasible += 1
            if self._infeasible >= max(self._limit, _FEWEST_INFEASIBLE):
                why = verdict.reason.rstrip(".")
                raise WorkerError(
                    f"memory: must suffice for some configs; got {self._infeasible} trials in a row for which it ran out, in "
                    f"fresh workers too, the last one (trial {verdict.number}) because: {why}. Look whether others "
                    "use the GPU (nvidia-smi) or the host's memory; if none does, shrink the space, or raise study.max_failures"
                )
