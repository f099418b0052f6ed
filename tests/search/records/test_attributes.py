import dataclasses
import json

import optuna
import pytest
from optuna.trial import create_trial

from search.driver.compatibility import check_same, describe
from search.driver.ownership import Owner
from search.errors import StudyError
from search.records import attributes, beginnings
from search.records.saving import failure_attrs, save
from search.study_file.load import load
from tumorcls import objective

READERS = {
    attributes.OWNER_KEY: (attributes.owner_of, {}),
    attributes.SEED_KEY: (attributes.seed_of, None),
    attributes.RETRY_KEY: (attributes.retry_of, None),
    attributes.RETRIES_KEY: (attributes.retries_of, 0),
    attributes.QUEUED_KEY: (attributes.queued_of, None),
    attributes.FINALIST_KEY: (attributes.finalist_of, None),
    attributes.FAILURE_KEY: (attributes.failure_of, None),
    attributes.TRACEBACK_KEY: (attributes.traceback_of, None),
    attributes.CONFIG_KEY: (attributes.config_of, None),
    attributes.PROVENANCE_KEY: (attributes.provenance_of, {}),
    attributes.WARM_KEY: (attributes.warm_link, None),
    attributes.IMPORTED_KEY: (attributes.imported_of, None),
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
    for key in (
        attributes.FILE_KEY,
        attributes.BUDGET_KEY,
        attributes.WARM_KEY,
        attributes.PORTFOLIO_KEY,
        attributes.DRIVER_KEY,
    ):
        study.set_user_attr(key, value)
    assert (attributes.file_of(study), attributes.budget_of(study), beginnings.warm_source(study)) == (None, None, None)
    assert beginnings.portfolio_of(study) is None
    assert Owner.from_attr(study.user_attrs[attributes.DRIVER_KEY]) is None


def test_a_retry_is_of_an_earlier_trial():
    study = optuna.create_study()
    for first in (1, 0, 5, 3, -1):
        study.add_trial(create_trial(value=0.0, user_attrs={attributes.RETRY_KEY: first}))
    assert [attributes.retry_of(trial) for trial in study.trials] == [None, 0, None, None, None]


@pytest.mark.parametrize(("kept", "read"), [(2, 2), (0, 0), (-1, 0)])
def test_a_config_was_tried_again_so_often(kept, read):
    assert attributes.retries_of(create_trial(value=0.0, user_attrs={attributes.RETRIES_KEY: kept})) == read


@pytest.mark.parametrize(("kept", "read"), [(0, 0), (99_999, 99_999), (-1, None), (100_000, None)])
def test_a_worker_has_a_number_that_there_can_be(kept, read):
    owner = {attributes.WORKER_KEY: kept}
    assert attributes.worker_of(create_trial(value=0.0, system_attrs={attributes.OWNER_KEY: owner})) == read


@pytest.mark.parametrize(("kept", "read"), [(8, 8), (0, None), (-8, None)])
def test_a_budget_is_of_one_trial_at_least(kept, read):
    study = optuna.create_study()
    study.set_user_attr(attributes.BUDGET_KEY, kept)
    assert attributes.budget_of(study) == read


@pytest.mark.parametrize(
    ("constraints", "infeasible"),
    [
        ([], False),
        ([0.0], False),
        ([-1.0], False),
        ([-1.0, 0.5], True),
        (None, False),
        (7, False),
        ("broken", False),
        ([None], False),
    ],
)
def test_a_trial_that_breaks_a_constraint_is_no_result(constraints, infeasible):
    """Whatever else stands in the place of Optuna's constraints breaks none."""
    trial = create_trial(value=0.0, system_attrs={"constraints": constraints})
    assert (attributes.is_infeasible(trial), attributes.is_result(trial)) == (infeasible, not infeasible)


@pytest.mark.parametrize("values", [[float("inf")], [1.0, float("-inf")]])
def test_a_value_that_is_not_finite_is_no_result(values):
    assert not attributes.is_result(create_trial(values=values))
    assert attributes.is_result(create_trial(values=[1.0] * len(values)))


@pytest.mark.parametrize("compared", [True, False])
def test_a_trial_of_another_study_is_a_result_where_its_value_means_the_same(compared):
    link = dataclasses.asdict(attributes.WarmLink("old", 3, compared))
    trial = create_trial(value=0.0, user_attrs={attributes.WARM_KEY: link})
    assert (attributes.is_warm(trial), attributes.is_result(trial)) == (True, compared)


def test_what_is_long_is_read_whole_though_its_beginning_is_shown():
    study, reason = optuna.create_study(), "no room " * 50
    save(study._storage, study.ask()._trial_id, attributes.FAILURE_KEY, reason)
    [trial] = study.trials
    assert len(trial.user_attrs[attributes.FAILURE_KEY]) < len(reason)
    assert attributes.failure_of(trial) == reason


@pytest.mark.parametrize("character", ["x", "\n", "é", "😀"])
def test_why_a_trial_ended_is_kept_as_far_as_every_storage_has_room_for_it(character):
    kept = failure_attrs("OSError: " + character * 70_000, character * 70_000 + "OSError")
    assert [2**15 - 4_000 < len(json.dumps(text)) < 2**16 for text in kept.values()] == [True, True]
    assert kept[attributes.FAILURE_KEY].startswith(f"OSError: {character}")
    assert kept[attributes.TRACEBACK_KEY].endswith(f"{character}OSError")


@pytest.mark.parametrize("key", attributes.OBJECTIVE_KEYS)
def test_what_an_objective_says_last_is_what_it_has_said_however_long_it_was(key):
    study = optuna.create_study()
    trial_id = study.ask()._trial_id
    for said in ({"notice": "short"}, {"notice": "long " * 100}, {"notice": "short again"}):
        save(study._storage, trial_id, key, said)
        [trial] = study.trials
        assert (attributes.config_of(trial) or attributes.provenance_of(trial)) == said


def test_every_name_has_the_prefix():
    keys = [value for name, value in vars(attributes).items() if name.endswith("_KEY") and not name.startswith("_")]
    assert len(keys) > 15
    assert [key for key in keys if not key.startswith(attributes.PREFIX)] == [attributes.WORKER_KEY, attributes.CLOCK_KEY]
    assert (objective.CONFIG_KEY, objective.PROVENANCE_KEY) == attributes.OBJECTIVE_KEYS


def test_a_study_of_the_version_before_is_refused(write):
    spec = load(write())
    study = optuna.create_study(study_name="demo", direction="maximize")
    study.set_user_attr("study_file", "somebody's own note")
    check_same(study, spec)
    study = optuna.create_study(study_name="demo", direction="maximize")
    study.set_user_attr("study_file", describe(spec))
    with pytest.raises(StudyError, match=r'study "demo": must be of this version of search; got one .* Add --as NAME'):
        check_same(study, spec)
    study.set_user_attr(attributes.FILE_KEY, describe(spec))
    check_same(study, spec)
