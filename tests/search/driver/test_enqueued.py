"""What a notebook enqueues with plain Optuna, or adds: a launch tries what fits the space, and says what does not."""

import io
import json

import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner
from optuna.trial import TrialState, create_trial
from rich.console import Console

from search.driver.ask import TrialSource
from search.driver.compatibility import check_same
from search.errors import StudyError
from search.optuna_internals import models
from search.records.attributes import RETRY_KEY, failure_of
from search.records.rungs import RUNGS_KEY
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

    def has_place(self, worker):
        return True

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


class Looks:
    """Counts how often the trials of a study are asked for, the statements of its database, and the trials read from it."""

    def __init__(self, study, monkeypatch):
        self.looks = self.statements = self.read = 0
        storage = study._storage
        asked, read = storage.get_all_trials, storage.backend._get_trials

        def count_look(*arguments, **options):
            self.looks += 1
            return asked(*arguments, **options)

        def count_read(*arguments):
            trials = read(*arguments)
            self.read += len(trials)
            return trials

        def count_statement(*_):
            self.statements += 1

        monkeypatch.setattr(storage, "get_all_trials", count_look)
        monkeypatch.setattr(storage.backend, "_get_trials", count_read)
        sqlalchemy.event.listen(storage.backend.engine, "after_cursor_execute", count_statement)


def enqueue(study, count, **attrs):
    """Enqueues as many configs in one transaction."""
    first = len(study.trials)
    attrs = {"fixed_params": {"x": 0.1}, **attrs}
    with study._storage.session() as session:
        for number in range(first, first + count):
            trial = models.TrialModel(number=number, study_id=study._study_id, state=TrialState.WAITING)
            trial.system_attributes = [
                models.TrialSystemAttributeModel(key=key, value_json=json.dumps(value)) for key, value in attrs.items()
            ]
            session.add(trial)


@pytest.mark.parametrize("study", URLS[:1], indirect=True)
@pytest.mark.parametrize("alone", [True, False], ids=["file", "server"])
def test_a_turn_of_the_driver_does_not_read_again_what_waits(study, write, alone, monkeypatch):
    """A quarter of a millisecond each, at each turn: with thousands of paused trials the driver did little else."""
    tables = {"space": {"x": SPACE["x"], "epochs": SPACE["epochs"]}, "sampler": RANDOM}
    spec = load(write(**tables))
    counts = []
    for more in (40, 400):
        enqueue(study, 1 + more // 2)
        enqueue(study, more // 2, **{RUNGS_KEY: {"1": [1.0, 0.1]}})
        again = create_study(URLS[0], "demo", ["maximize"], ["score"])
        monkeypatch.setattr(again._storage, "alone", alone)
        again.pruner = MedianPruner(n_startup_trials=0)
        source = TrialSource(again, spec)
        counted = Looks(again, monkeypatch)
        trial = source.ask({})
        assert trial.params["x"] == 0.1
        trial.report(1.0, 0)
        trial.should_prune()
        trials = [trial, source.ask({})]
        counts.append((counted.looks, counted.statements, counted.read))
        for trial in trials:
            again.tell(trial, state=TrialState.FAIL)
        close(again)
    assert counts[1] == counts[0]
    assert counts[0][2] <= 2, "on a server what runs is read, as another driver may end it"


@pytest.mark.parametrize("study", URLS[:1], indirect=True)
def test_wrong_ones_are_refused_some_at_a_time_in_two_looks(study, write, monkeypatch):
    """Each took a look of its own at all trials, all in one call: neither another driver nor ^C came in between."""
    source = TrialSource(study, load(write(space={"x": SPACE["x"]}, sampler=RANDOM)))
    enqueue(study, 45, fixed_params={"x": 7})
    enqueue(study, 1)
    counted, refused, asks = Looks(study, monkeypatch), [], []
    while not asks or asks[-1][1] is None:
        before = counted.looks
        trial = source.ask({}, refused=lambda number, why: refused.append(number))
        asks.append((counted.looks - before, trial))
    assert [looks for looks, _ in asks] == [1, 1, 2]
    assert refused == list(range(45))
    assert (asks[-1][1].number, asks[-1][1].params) == (45, {"x": 0.1})


@pytest.mark.parametrize("study", URLS, indirect=True)
@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.FAIL])
def test_what_cannot_be_drawn_is_left_running_nowhere(study, write, state, notebook):
    """The other kind has come since the launch began."""
    source = TrialSource(study, load(write(space={"c": SPACE["c"]}, sampler=RANDOM)))
    notebook.add_trial(create_trial(state=state, **OTHER))
    with pytest.raises(StudyError, match=r"space\.c: must be of the kind"):
        source.ask({})
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
