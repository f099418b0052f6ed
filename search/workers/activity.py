"""What an objective is at while it takes its time: told to the driver now and then, which may answer that it is to end.

An objective says so with ``trial.progress("...")``. A class that takes its time before its first trial may define a static
method ``on_activity``, which is called before it is built, with a function that takes such a text.
"""

import re
import time
from collections.abc import Callable

from search.text import plain

_PER_SECOND = 4.0
_BURST = 4.0
_LONGEST = 120  # characters


class Interrupted(BaseException):
    """The driver asked this worker to end what it is at.

    No `Exception`, so that an objective's ``except Exception`` lets it through.
    """


class Activities:
    """Passes on what an objective is at, a few times a second at most: something new rather than another figure of the same.

    Each time it asks `stopped`, whether the driver has asked to end.
    """

    def __init__(self, send: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        self._send = send
        self._stopped = stopped
        self._credit = _BURST
        self._at = time.monotonic()
        self._topic = ""

    def __call__(self, text: str) -> None:
        """Says what the objective is at; an empty text says that it is over.

        Raises:
            Interrupted: It is to end.
        """
        if self._stopped():
            raise Interrupted
        now = time.monotonic()
        self._credit = min(_BURST, self._credit + (now - self._at) * _PER_SECOND)
        self._at = now
        topic = re.sub(r"\d+", "", text.partition(":")[0])
        if self._credit < (1.0 if topic != self._topic else _BURST / 2):
            return
        self._credit -= 1.0
        self._topic = topic
        self._send(plain(text, _LONGEST))
