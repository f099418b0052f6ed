import optuna
import pytest
from optuna.trial import TrialState

from search.records.attributes import QUEUED_KEY
from search.storage.open import snapshot


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_has_all_of_the_study_and_stays_as_it_was():
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    study = optuna.create_study(storage="sqlite:///any.db", study_name="any", directions=["maximize", "minimize"])
    study.set_metric_names(["f1", "seconds"])
    study.set_user_attr("note", {"a": 1})
    study.enqueue_trial({"x": 0.25}, user_attrs={QUEUED_KEY: True})
    study.tell(study.ask(space), (1.0, 2.0))
    study.tell(study.ask(space), state=TrialState.FAIL)
    study.ask(space)
    study.enqueue_trial({"x": 0.5})
    copy = snapshot(study)
    study.ask(space)
    kept = ("number", "params", "values", "user_attrs", "system_attrs", "datetime_start", "datetime_complete")
    for theirs, ours in zip(study.trials[:3], copy.trials, strict=False):
        assert [getattr(theirs, name) for name in kept] == [getattr(ours, name) for name in kept]
    assert [trial.state.name for trial in copy.trials] == ["COMPLETE", "FAIL", "RUNNING", "WAITING"]
    assert (copy.study_name, copy.directions, copy.metric_names) == ("any", study.directions, ["f1", "seconds"])
    assert copy.user_attrs == {"note": {"a": 1}}
