"""What a notebook enqueues with plain Optuna, or adds: a launch tries what fits the space, and says what does not."""

import io

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console

from search.driver.ask import TrialSource
from search.driver.compatibility import check_same
from search.errors import StudyError
from search.records.attributes import RETRY_KEY, failure_of
from search.storage.open import close, create_study
from search.study_file.load import load
from search.workers.protocol import Outcome, Ready, RunTrial

NAN, INF = float("nan"), float("inf")
URLS = ["sqlite:///demo.db", "journal:///demo.log"]
SPACE = {
    "x": '{ type = "float", low = 0.0, high = 0.3 }',
    "lr": '{ type = "float", low = 1e-4, high = 1.0, log = true }',
    "stepped": '{ type = "float", low = 0.0, high = 1.0, step = 0.25 }',
    "n": '{ type = "int", low = 1, high = 9, step = 2 }',
    "width": '{ type = "int", low = 1, high = 512, log = true }',
    "c": '{ type = "categorical", choices = ["a", "b"] }',
    "rate": '{ type = "categorical", choices = [1, 2.5] }',
    "flag": '{ type = "categorical", choices = [true, false] }',
    "epochs": '{ type = "int", low = 1, high = 8, fidelity = true }',
}
ALWAYS_WRONG = ("hi", None, NAN, [])
WRONG = {
    "x": (7, -1, True, "0.1", -INF, {}),
    "lr": (0.0, -1.0, 2),
    "stepped": (0.3, 1.25),
    "n": (4, 3.7, "3", 11, True, INF),
    "width": (0, 513, 1e300),
    "c": ("zzz", 0, {}),
    "rate": (True, 3, "1"),
    "flag": (1, 0, "true"),
    "epochs": (100, 0, -1, "8", 2.5),
}


RANDOM = {"name": '"random"'}


class AtOnce:
    """Plays one worker whose trials are over when they begin; notes what it was given."""

    def __init__(self):
        self.tasks, self._said = [], []

    def start(self, worker):
        self._said.append((worker, Ready()))

    def send(self, worker, message):
        if isinstance(message, RunTrial):
            self.tasks.append(message)
            self._said.append((worker, Outcome(message.number, "complete", (float(message.number),))))

    def receive(self, timeout_s):
        said, self._said = self._said, []
        return said

    def stop(self, *, at_once=False):
        pass


@pytest.fixture
def study(request):
    """The study, in a storage of the parameter's URL."""
    made = create_study(request.param, "demo", ["maximize"], ["score"])
    yield made
    close(made)


@pytest.fixture
def executor():
    return AtOnce()


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=300)


@pytest.fixture
def notebook(study, read_study, request):
    """The study as a notebook opens it."""
    return read_study(url=request.node.callspec.params["study"])


def failed(study):
    return [trial for trial in study.trials if trial.state is TrialState.FAIL]


@pytest.mark.parametrize("study", URLS, indirect=True)
def test_what_the_space_does_not_hold_fails_alone_and_names_itself(drive, study, executor, console, notebook):
    wrong = [(name, value) for name in SPACE for value in (*ALWAYS_WRONG, *WRONG[name])]
    for name, value in wrong:
        notebook.enqueue_trial({name: value, "unknown": value})
    drive(study, executor=executor, console=console, study={"trials": "3", "max_failures": "1"}, space=SPACE, sampler=RANDOM)
    assert study.user_attrs["reason"] == "budget"
    printed = console.file.getvalue()
    assert [trial.number for trial in failed(study)] == list(range(len(wrong)))
    for trial, (name, _) in zip(failed(study), wrong, strict=True):
        assert failure_of(trial).startswith(f"the enqueued {name} must ")
        assert f"trial {trial.number} failed: {failure_of(trial)}" in printed
    assert [trial.state for trial in study.trials[len(wrong) :]] == [TrialState.COMPLETE] * 3
    assert f"{len(wrong)} failed" in printed.splitlines()[-1]


@pytest.mark.parametrize("study", URLS, indirect=True)
def test_what_fits_is_tried_as_it_would_have_been_drawn(drive, study, executor, notebook):
    given = {"x": 0, "stepped": 1, "n": 3.0, "width": 16.0, "c": "b", "rate": 1.0, "flag": False, "epochs": 3.0, "unknown": []}
    notebook.enqueue_trial(given)
    drive(study, executor=executor, study={"trials": "1"}, space=SPACE, sampler=RANDOM)
    [task] = executor.tasks
    drawn = {name: value for name, value in task.params.items() if name != "lr"}
    wanted = {"x": 0.0, "stepped": 1.0, "n": 3, "width": 16, "c": "b", "rate": 1, "flag": False, "epochs": 3}
    assert {name: repr(value) for name, value in drawn.items()} == {name: repr(value) for name, value in wanted.items()}
    assert study.trials[0].state is TrialState.COMPLETE
    assert study.trials[0].params["epochs"] == 3


@pytest.mark.parametrize("study", URLS, indirect=True)
@pytest.mark.parametrize(
    "tables", [{"sampler": {"name": '"grid"'}}, {"sampler": {"name": '"none"'}, "enqueue": "[[enqueue]]\nn = 5"}]
)
def test_where_every_config_was_tried_a_wrong_one_brings_no_other(drive, study, executor, tables):
    tables = {"study": {"trials": "99"}, "space": {"x": None, "n": SPACE["n"]}, **tables}
    drive(study, executor=executor, **tables)
    tried = len(study.trials)
    study.enqueue_trial({"n": 4})
    drive(study, executor=executor, **tables)
    assert (study.user_attrs["reason"], len(study.trials)) == ("grid", tried + 1)
    assert [trial.number for trial in failed(study)] == [tried]


@pytest.mark.parametrize("study", URLS, indirect=True)
def test_what_an_earlier_launch_could_not_draw_is_put_right_by_the_next(drive, study, executor):
    """It is still to be tried again, as what was lost."""
    study.enqueue_trial({"x": "hi"})
    lost = study.ask()
    study.tell(lost, state=TrialState.FAIL)
    study.enqueue_trial({"x": "hi"}, user_attrs={RETRY_KEY: 0})
    study.add_trial(create_trial(state=TrialState.WAITING, params={"x": 7.0}, distributions={"x": FloatDistribution(0.0, 9.0)}))
    drive(study, executor=executor, study={"trials": "2"}, space={"x": SPACE["x"]}, sampler=RANDOM)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert all(failure_of(trial).startswith("the enqueued x must") for trial in study.trials[1:3])


OTHER = {"params": {"c": "a"}, "distributions": {"c": CategoricalDistribution(["a", "q"])}}


@pytest.mark.parametrize("study", URLS, indirect=True)
def test_a_kind_of_parameter_that_another_program_has_added_is_refused_before_a_trial_runs(study, write):
    spec = load(write(space={"c": SPACE["c"]}))
    check_same(study, spec)
    study.add_trial(create_trial(value=1.0, params={"x": 1.0}, distributions={"x": FloatDistribution(-10.0, 10.0)}))
    study.add_trial(create_trial(state=TrialState.FAIL, **OTHER))
    with pytest.raises(StudyError, match=r"^demo\.toml: space\.c: must be of the kind that trial 1 of study .* --as NAME"):
        check_same(study, spec)


@pytest.mark.parametrize("study", URLS, indirect=True)
@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.FAIL])
def test_what_cannot_be_drawn_is_left_running_nowhere(study, write, state, notebook):
    """The other kind has come since the launch began."""
    source = TrialSource(study, load(write(space={"c": SPACE["c"]}, sampler=RANDOM)))
    notebook.add_trial(create_trial(state=state, **OTHER))
    with pytest.raises(StudyError, match=r"space\.c: must be of the kind"):
        source.ask({})
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
