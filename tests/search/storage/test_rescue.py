"""What is written of a study whose storage is lost, whatever that had made of its trials by then."""

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.optuna_internals import trial_id_of
from search.storage.rescue import Frame, rescue
from search.storage.trial_ends import Known

COMPLETE, FAIL, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING


def half_deleted() -> FrozenTrial:
    """A trial of which the rows with its values were deleted before the trial itself was."""
    trial = create_trial(state=COMPLETE, value=1.0)
    trial.values = None
    return trial


@pytest.mark.parametrize(
    ("trial", "told", "saved"),
    [
        (create_trial(state=COMPLETE, value=1.0), (COMPLETE, (1.0,)), (COMPLETE, 1.0)),
        (create_trial(state=RUNNING), (COMPLETE, (2.0,)), (COMPLETE, 2.0)),
        (create_trial(state=RUNNING), (PRUNED, ()), (PRUNED, None)),
        (create_trial(state=RUNNING), None, (RUNNING, None)),
        (create_trial(state=FAIL), (COMPLETE, (2.0,)), (FAIL, None)),
        (half_deleted(), (COMPLETE, (3.0,)), (COMPLETE, 3.0)),
        (half_deleted(), None, (FAIL, None)),
    ],
    ids=["confirmed", "told", "pruned", "runs", "ended by another driver", "values deleted", "and never told"],
)
def test_a_trial_ends_as_it_was_told(tmp_path, trial, told, saved):
    known = Known([trial], {trial_id_of(trial): told} if told else {})
    path = rescue(Frame("lost", [StudyDirection.MINIMIZE], {}, {}), known, "lost", tmp_path)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    [found] = optuna.load_study(study_name="lost", storage=optuna.storages.JournalStorage(backend)).trials
    assert (found.state, found.value) == saved
