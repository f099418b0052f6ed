import errno
from multiprocessing.context import SpawnProcess

from search.workers.consult import ask_misfits


def test_no_room_for_a_process_leaves_the_question_to_the_worker(monkeypatch):
    def no_room(self):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(SpawnProcess, "start", no_room)
    assert ask_misfits("objectives:parabola", {}, {}) == ()
