"""What the other drivers of a study do: which trials they run, which have ended, and which of them are gone.

Where a storage is a server, other processes and machines may have joined the study. Each driver leaves a sign of life with one
of its trials every few seconds. Whoever's trials show none, and do not change, while another driver watches is taken for dead,
and its trials are given back. Clocks are never compared: only the watcher's own counts.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.driver.ownership import Owner
from search.optuna_internals import storage_of, trial_id_of
from search.records.attributes import BEAT_KEY, owner_of
from search.records.durations import BEAT_S, beat_of
from search.storage.open import shared

GRACE_S = 90.0
"""How long another machine's driver may show nothing; a network that is cut for half a minute costs nobody a trial."""

_LOOK_S = 3.0  # how soon a driver that waits for the others sees that they are done


@dataclass
class Watch:
    """For how long each driver has shown no sign of life.

    Attributes:
        grace_s: How long it may.
    """

    grace_s: float
    _seen: dict[Owner, tuple[object, float]] = field(default_factory=dict)
    _looked_at: float = float("-inf")

    def stale(self, signs: Mapping[Owner, object], now: float) -> set[Owner]:
        """Returns those whose sign has been the same for too long.

        Args:
            signs: What changes while a driver lives.
            now: In seconds, on any clock that does not jump.
        """
        if now - self._looked_at > 2 * BEAT_S:
            self._seen.clear()  # we were away, as after a cut of the network; so may they have been
        self._looked_at = now
        seen = {owner: self._seen.get(owner, (sign, now)) for owner, sign in signs.items()}
        self._seen = {owner: seen[owner] if seen[owner][0] == sign else (sign, now) for owner, sign in signs.items()}
        return {owner for owner, (_, since) in self._seen.items() if now - since >= self.grace_s}


class SignOfLife:
    """What a driver leaves now and then: others see that it lives, and who finds its trials, how long they ran at least.

    It is no heartbeat of Optuna's: a program of plain Optuna fails the trial that had one, once another one has it.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._storage = storage_of(study)
        self._at = time.monotonic()

    def show(self, mine: Sequence[optuna.Trial]) -> None:
        """Leaves one, where it is time, with the first of the trials that this driver runs: that is the one that began first.

        Others see it there even where the rest of its trials begin and end between two of their looks. Where they have given
        that one back, which this driver learns from its next report, they do not look there: then it is the next.
        """
        now = time.monotonic()
        if now - self._at < BEAT_S:
            return
        for trial in mine:
            self._at = now
            with contextlib.suppress(UpdateFinishedTrialError):
                self._storage.set_trial_system_attr(trial_id_of(trial), BEAT_KEY, now)
                return


class OtherDrivers:
    """The other drivers of a study; there are none where its storage is a file.

    Args:
        study: The study.
        me: This driver.
        trials: Those of the study, when this driver began to count.
    """

    def __init__(self, study: optuna.Study, me: Owner, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._storage = shared(study)
        self._me = me
        self._watch = Watch(GRACE_S)
        self._watched_at = self._looked_at = float("-inf")
        self._known: set[int] = set()  # the trials that are counted, or with this driver
        self._running: list[FrozenTrial] = []
        self.update(trials)

    @property
    def running(self) -> int:
        """How many trials the others ran when last looked."""
        return len(self._running)

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """Those trials, as they were."""
        return self._running

    def taken(self, number: int) -> None:
        """Leaves a trial to this driver, which counts it itself."""
        self._known.add(number)

    def released(self, number: int) -> None:
        """This driver has paused a trial: whoever takes it up next, or ends it where it is, may be another."""
        self._known.discard(number)

    def update(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Notes what the others run, given all trials of the study; returns those that they have ended since the last look."""
        if self._storage is None:
            return []
        self._looked_at = time.monotonic()
        theirs = [trial for trial in trials if trial.number not in self._known]
        running = [trial for trial in theirs if trial.state is TrialState.RUNNING]
        self._running = [trial for trial in running if Owner.from_attr(owner_of(trial)) not in (None, self._me)]
        ended = [trial for trial in theirs if trial.state.is_finished()]
        self._known |= {trial.number for trial in ended}
        return ended

    def poll(self) -> list[FrozenTrial]:
        """Returns what `update` does, every few seconds; nothing in between."""
        if self._storage is None or time.monotonic() - self._looked_at < _LOOK_S:
            return []
        return self.update(self._study.get_trials(deepcopy=False))

    def gone(self) -> list[FrozenTrial]:
        """Returns the trials of those that have shown no sign of life for too long, every few seconds: mostly none."""
        now = time.monotonic()
        if self._storage is None or now - self._watched_at < BEAT_S:
            return []
        self._watched_at = now
        by_owner: dict[Owner, list[FrozenTrial]] = {}
        for trial in self._running:
            owner = Owner.from_attr(owner_of(trial))
            assert owner is not None
            by_owner.setdefault(owner, []).append(trial)
        signs = {owner: [(trial.number, beat_of(trial)) for trial in trials] for owner, trials in by_owner.items()}
        gone = self._watch.stale(signs, now) | {owner for owner in by_owner if not owner.may_live()}
        return [trial for owner in gone for trial in by_owner[owner]]
