import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.driver.ask import TrialSource, first_try
from search.driver.initial_design import initial_design
from search.driver.retry import requeue
from search.records.attributes import PORTFOLIO_KEY, RETRY_KEY
from search.seeds import Stream, derive
from search.study_file.load import load


def places(*retries):
    """The places of trials 0, 1, ... and of the next one; a number stands for the trial that this one takes up again."""
    study = optuna.create_study()
    for retry in retries:
        attrs = {} if retry is None else {RETRY_KEY: retry}
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attrs))
    numbers = [trial.number for trial in study.trials if RETRY_KEY in trial.user_attrs]
    return [first_try(number, study.trials, numbers)[1] for number in range(len(retries) + 1)]


def test_without_retries_the_place_is_the_number():
    assert places(None, None, None) == [0, 1, 2, 3]


def test_a_retry_has_the_place_of_its_first_try_and_shifts_nothing_after_it():
    assert places(None, None, 1, 2, None, 4) == [0, 1, 1, 1, 2, 2, 3]


RATE = {"x": None, "rate": '{ type = "float", low = 1e-4, high = 1.0, log = true }', "n": '{ type = "int", low = 1, high = 9 }'}


@pytest.mark.parametrize("rate", [0.01, 0.010000000000000004])
@pytest.mark.parametrize("by", ["the file", "a portfolio", "a notebook"])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_point_of_the_design_that_is_enqueued_is_tried_once(write, rate, by, resumed):
    entry = f"[[enqueue]]\nrate = {rate!r}\nn = 5\n" if by == "the file" else ""
    spec = load(write(space=RATE, enqueue=entry))
    study = optuna.create_study(direction="maximize")
    if by == "a portfolio":
        study.set_user_attr(PORTFOLIO_KEY, {"studies": ["a", "b"], "configs": [{"rate": rate, "n": 5}]})
    if by == "a notebook":
        study.enqueue_trial({"rate": rate, "n": 5})
    source = TrialSource(study, spec)
    for _ in range(5):
        if resumed:
            source = TrialSource(study, spec)
        study.tell(source.ask({}), 0.0)
    middle, *others = initial_design(spec.space, {}, 6, derive(0, Stream.DESIGN))
    drawn = [trial.params for trial in study.trials]
    assert drawn[0] == {"rate": rate, "n": 5} == pytest.approx(middle)
    assert drawn[1:] == others[:4]


def tried(study, spec, *, count=8):
    """Which points of the design the trials are; x is none."""
    design = list(initial_design(spec.space, {}, 6, derive(0, Stream.DESIGN)))
    source = TrialSource(study, spec)
    for _ in range(count):
        study.tell(source.ask({}), 0.0)
    return "".join(str(design.index(trial.params)) if trial.params in design else "x" for trial in study.trials)


@pytest.mark.parametrize(
    ("begun", "enqueued", "expected"),
    [
        (0, [], "012345xx"),
        (0, [0], "012345xx"),
        (0, [0, 1], "012345xx"),
        (0, [4], "401235xx"),
        (0, ["x"], "x01234xx"),
        (0, [{}], "012345xx"),
        (3, [1], "012134xx"),
        (3, [1, 4], "012143xx"),
        (3, ["x"], "012x34xx"),
        (3, [{"n": 5}], "012x34xx"),
    ],
)
def test_what_a_notebook_enqueues_costs_no_other_point_of_the_design(write, begun, enqueued, expected):
    spec = load(write(space=RATE))
    design = list(initial_design(spec.space, {}, 6, derive(0, Stream.DESIGN)))
    study = optuna.create_study(direction="maximize")
    tried(study, spec, count=begun)
    for entry in enqueued:
        study.enqueue_trial({"rate": 0.5, "n": 3} if entry == "x" else design[entry] if isinstance(entry, int) else entry)
    assert tried(study, spec, count=8 - begun) == expected


def test_a_retry_has_the_point_of_its_first_try_whatever_is_enqueued_meanwhile(write):
    spec = load(write(space=RATE))
    study = optuna.create_study(direction="maximize")
    tried(study, spec, count=2)
    lost = TrialSource(study, spec).ask({})
    study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={RETRY_KEY: lost.number}))  # lost before it was drawn
    study.tell(lost, state=TrialState.FAIL)
    spec = load(write(space=RATE, enqueue="[[enqueue]]\nrate = 0.5\nn = 3\n"))
    study.enqueue_trial({"rate": 0.5, "n": 4})
    assert tried(study, spec, count=5) == "0122xx3x"


def test_a_retry_takes_no_point_of_the_design_away(write):
    spec = load(write(space=RATE))
    study = optuna.create_study(direction="maximize")
    source = TrialSource(study, spec)
    requeue(study, source.ask({}).number, "lost")
    for _ in range(5):
        study.tell(source.ask({}), 0.0)
    assert [trial.params for trial in study.trials[1:]] == list(initial_design(spec.space, {}, 6, derive(0, Stream.DESIGN)))[:5]
