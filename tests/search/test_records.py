import optuna
import pytest
from optuna.trial import create_trial

from search import records
from search.errors import StudyError
from search.resume import Owner, check_same, describe
from search.study_file import load
from tumorcls import objective

READERS = {
    records.OWNER_KEY: (records.owner_of, {}),
    records.SEED_KEY: (records.seed_of, None),
    records.RETRY_KEY: (records.retry_of, None),
    records.RETRIES_KEY: (records.retries_of, 0),
    records.QUEUED_KEY: (records.queued_of, None),
    records.FINALIST_KEY: (records.finalist_of, None),
    records.FAILURE_KEY: (records.failure_of, None),
    records.TRACEBACK_KEY: (records.traceback_of, None),
    records.CONFIG_KEY: (records.config_of, None),
    records.PROVENANCE_KEY: (records.provenance_of, {}),
    records.WARM_KEY: (records.warm_link, None),
    records.IMPORTED_KEY: (records.imported_of, None),
}
NOT_OURS = [None, True, -1.5, [1], [], float("nan")]


@pytest.mark.parametrize("key", READERS)
@pytest.mark.parametrize("value", NOT_OURS, ids=repr)
def test_what_is_of_another_shape_counts_as_absent(key, value):
    reader, absent = READERS[key]
    assert reader(create_trial(value=0.0, user_attrs={key: value})) == absent


@pytest.mark.parametrize("value", [*NOT_OURS, {"study": 1}, {"study": "a", "trial": 0}, {"study": "a", "all": 1}], ids=repr)
def test_likewise_of_a_study(value):
    study = optuna.create_study()
    for key in (records.FILE_KEY, records.BUDGET_KEY, records.WARM_KEY, records.DRIVER_KEY):
        study.set_user_attr(key, value)
    assert (records.file_of(study), records.budget_of(study), records.warm_source(study)) == (None, None, None)
    assert Owner.from_attr(study.user_attrs[records.DRIVER_KEY]) is None


def test_a_retry_is_of_an_earlier_trial():
    study = optuna.create_study()
    for first in (1, 0, 5):
        study.add_trial(create_trial(value=0.0, user_attrs={records.RETRY_KEY: first}))
    assert [records.retry_of(trial) for trial in study.trials] == [None, 0, None]


def test_every_name_has_the_prefix():
    keys = [value for name, value in vars(records).items() if name.endswith("_KEY") and not name.startswith("_")]
    assert len(keys) > 15
    assert [key for key in keys if not key.startswith(records.PREFIX)] == [records.WORKER_KEY, records.CLOCK_KEY]
    assert (objective.CONFIG_KEY, objective.PROVENANCE_KEY) == records.OBJECTIVE_KEYS


def test_a_study_of_the_version_before_is_refused(write):
    spec = load(write())
    study = optuna.create_study(study_name="demo", direction="maximize")
    study.set_user_attr("study_file", "somebody's own note")
    check_same(study, spec)
    study = optuna.create_study(study_name="demo", direction="maximize")
    study.set_user_attr("study_file", describe(spec))
    with pytest.raises(StudyError, match=r'study "demo": must be of this version of search; got one .* Add --as NAME'):
        check_same(study, spec)
