"""What a tracker is: holds runs of a study, says which, and takes what is missing."""

from collections.abc import Mapping
from typing import Protocol

from search.results.tracking.projection import StudyRun, TrialRun


class TrackerError(Exception):
    """A tracker could not be read or written now; later it may be."""


class RefusedError(TrackerError):
    """A tracker will not take a run as it is, now or later."""


class Tracker(Protocol):
    """Runs of one study somewhere. Every method may raise a `TrackerError`, and be called again after it.

    Attributes:
        name: What messages call it, without its password.
    """

    name: str

    def open(self, study: StudyRun) -> Mapping[int, str]:
        """Looks up what is there; returns the digest of each trial's run that is there as a whole, by its number."""

    def send_study(self, study: StudyRun) -> None:
        """Brings the study's own run up to date."""

    def send_trial(self, trial: TrialRun) -> bool:
        """Brings a trial's run up to date, and makes it where there is none; returns whether it lacked anything."""
