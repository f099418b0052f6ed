"""Drivers that share a study on a server: what they do to each other, and what one of them leaves to the rest."""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.driver import heartbeat
from search.driver.driver import Driver
from search.driver.launch import join, launch
from search.driver.ownership import Owner
from search.driver.progress import Progress
from search.driver.retry import requeue
from search.driver.views import QuietView
from search.errors import StudyError
from search.records.attributes import BEAT_KEY, FAILURE_KEY, OWNER_KEY, RETRY_KEY, SEED_KEY, owner_of
from search.records.states import DRIVER_DIED
from search.storage import open as storage
from search.storage.url import with_driver
from search.study_file import pruners
from search.study_file.load import StudySpec, load
from search.workers.pool import WorkerPool
from search.workers.process import WorkerSetup
from tests.inline import InlineExecutor
from tests.search.servers import SERVERS

SPACE = {"x": optuna.distributions.FloatDistribution(-10.0, 10.0)}
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": 1.0, "worker": 0}
DEAD = {**asdict(Owner.current()), "started": 1.0, "worker": 0}
BLIND = {"sampler": {"name": '"random"'}, "pruner": {"name": '"none"'}}


@pytest.fixture(params=SERVERS)
def url(request):
    return request.getfixturevalue(request.param).new_database()


@pytest.fixture
def drive(write):
    """Runs a driver with a worker in a thread; it beats and looks so often that a test may wait for it."""

    def run(study, tables, owner=None, **options):
        spec = tables if isinstance(tables, StudySpec) else load(write(**tables))
        study.pruner = pruners.make(spec.pruner.name, spec.pruner.options)
        executor = InlineExecutor(lambda worker: WorkerSetup(spec.target, spec.settings))
        pool = WorkerPool(executor, 1, spec.policy)
        view = QuietView(Progress.of(study, spec.policy.trials), None)
        reason = Driver(study, spec, pool, owner or Owner.current(), view, **options).run()
        return reason, view.progress

    return run


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.2)
    monkeypatch.setattr(heartbeat, "GRACE_S", 3.0)
    monkeypatch.setattr(heartbeat, "_LOOK_S", 0.1)


def read(url):
    study = storage.open_study(url, "demo")
    trials = study.get_trials()
    storage.close(study)
    return trials


def test_the_tables_are_made_once_by_those_that_start_together(url):
    with ThreadPoolExecutor() as pool:
        studies = list(pool.map(lambda _: storage.create_study(url, "demo", ["maximize"], ["score"]), range(4)))
    assert len({study._study_id for study in studies}) == 1
    for study in studies:
        storage.close(study)


@pytest.mark.slow
def test_machines_that_begin_and_share_a_study(write, search_process, postgresql, assert_no_password):
    """They start together, and none is launched before."""
    url = postgresql.new_database()
    tables = {"study": {"objective": '"objectives:parabola"', "trials": "31"}, "objective": {"pause": "0.03"}, **BLIND}
    alone = launch(load(write("alone.toml", **tables)), url="sqlite:///alone.db", quiet=True).study
    path = write(**{**tables, "study": {**tables["study"], "storage": f'"{url}"'}})
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: search_process("worker", path, "--workers", 2), range(2)))
    trials = read(url)
    assert [trial.number for trial in trials] == list(range(31)), "not one more than the budget"
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert len({owner_of(trial)["pid"] for trial in trials}) == 2
    by_number = {trial.number: trial for trial in alone.trials}
    for trial in trials:
        twin = by_number[trial.number]
        assert (trial.params, trial.user_attrs[SEED_KEY], trial.value) == (twin.params, twin.user_attrs[SEED_KEY], twin.value)
    assert all("Nothing is left to start here: " in one.stdout for one in done)
    assert "31/31 trials" in "".join(one.stdout for one in done)
    assert_no_password(*(one.stdout + one.stderr for one in done))
    assert len(list(Path().glob("demo.*-*.worker-1.log"))) == 2, "logs of one folder are set apart"


def test_each_point_of_a_grid_is_tried_by_one_of_them(write, url, study, drive, hasty):
    tables = {
        "study": {"trials": "50"},
        "space": {"x": '{ type = "float", low = -4.0, high = 4.0, step = 1.0 }'},
        "sampler": {"name": '"grid"'},
        "objective": {"pause": "0.01"},
        "pruner": BLIND["pruner"],
    }
    spec = load(write(**tables))
    others = [Owner("one", 1, 1.0), Owner("two", 2, 2.0), Owner("three", 3, 3.0)]
    studies = [storage.create_study(url, "demo", ["maximize"], ["score"]) for _ in others]
    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(lambda pair: drive(pair[0], spec, pair[1]), zip(studies, others, strict=True)))
    for one in studies:
        storage.close(one)
    assert [reason for reason, _ in ends] == ["grid"] * 3
    trials = study.get_trials()
    assert sorted(trial.params["x"] for trial in trials) == list(range(-4, 5))
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: 9}
    assert {board.finished for _, board in ends} == {9}, "each has counted what the others did"


@pytest.mark.parametrize("owner", [ELSEWHERE, DEAD], ids=["silent machine", "dead process"])
def test_what_another_driver_lost_is_taken_up(study, drive, hasty, owner):
    lost = study.ask(fixed_distributions=SPACE)
    lost.set_user_attr(OWNER_KEY, owner)
    study._storage.set_trial_system_attr(lost._trial_id, BEAT_KEY, 1.0)
    assert drive(study, {"study": {"trials": "3"}, **BLIND})[0] == "budget"
    trials = study.get_trials()
    assert trials[0].user_attrs[FAILURE_KEY] == DRIVER_DIED
    retry = next(trial for trial in trials if trial.user_attrs.get(RETRY_KEY) == 0)
    assert (retry.params, retry.state) == (lost.params, TrialState.COMPLETE)
    assert Counter(trial.state.name for trial in trials) == {"FAIL": 1, "COMPLETE": 3}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_program_of_plain_optuna_that_looks_for_heartbeats_fails_no_trial_of_ours(url, study, drive, monkeypatch):
    """It looks more often than a driver shows that it lives."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 2.5)
    server = with_driver(url).render_as_string(hide_password=False)
    plain = optuna.load_study(study_name="demo", storage=RDBStorage(server, heartbeat_interval=1, grace_period=1))
    with ThreadPoolExecutor() as pool:
        driven = pool.submit(drive, study, {"study": {"trials": "1"}, "objective": {"pause": "1.5"}, **BLIND})
        while not driven.done() and not plain.get_trials(states=(TrialState.FAIL,)):
            optuna.storages.fail_stale_trials(plain)
            time.sleep(0.1)
    storage.close(plain)
    [trial] = study.get_trials()
    assert (trial.state, trial.system_attrs.keys() & {BEAT_KEY}) == (TrialState.COMPLETE, {BEAT_KEY})


def test_a_machine_that_beats_keeps_its_trial(study, drive, hasty):
    """The launch waits for it, beyond the time after which a silent one would be gone, and then for nothing."""
    kept = study.ask(fixed_distributions=SPACE)
    kept.set_user_attr(OWNER_KEY, ELSEWHERE)
    ended = threading.Event()

    def beat():
        for at in range(25):
            study._storage.set_trial_system_attr(kept._trial_id, BEAT_KEY, float(at))
            ended.wait(0.2)
        study.tell(kept, 1.0)

    with ThreadPoolExecutor() as pool:
        told = pool.submit(beat)
        reason, board = drive(study, {"study": {"trials": "3"}, **BLIND})
        told.result()
    assert reason == "budget"
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 3
    assert board.finished == 3


def test_who_joins_leaves_what_others_run_to_them(study, drive):
    running = study.ask(fixed_distributions=SPACE)
    running.set_user_attr(OWNER_KEY, ELSEWHERE)
    assert drive(study, {"study": {"trials": "3"}, **BLIND}, waits=False)[0] == "budget"
    assert Counter(trial.state.name for trial in study.get_trials()) == {"RUNNING": 1, "COMPLETE": 2}


@pytest.mark.parametrize("pruner", [BLIND["pruner"], None], ids=["none", "median"])
def test_a_trial_that_was_given_back_meanwhile_is_given_up(study, drive, folder, wait_for, hasty, pruner):
    """As after a cut of the network that was too long: the first try ends at its next report, and nothing of it counts."""
    tables = {"study": {"objective": '"objectives:gated"', "trials": "2"}, **BLIND, "pruner": pruner}

    def take():
        wait_for((folder / "waiting").exists)
        requeue(study, 0, DRIVER_DIED)
        (folder / "gate").touch()

    with ThreadPoolExecutor() as pool:
        taken = pool.submit(take)
        reason, board = drive(study, tables)
        taken.result()
    trials = study.get_trials()
    assert reason == "budget"
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert (trials[1].user_attrs[RETRY_KEY], trials[1].params) == (0, trials[0].params)
    assert trials[0].intermediate_values == {}
    assert (board.finished, board.failed) == (2, 0), "it was lost, and did not fail"


def test_who_is_told_to_end_gives_back_what_does_not_report(study, drive, folder, wait_for):
    tables = {"study": {"objective": '"objectives:deaf"', "trials": "2"}}

    def end():
        wait_for((folder / "deaf").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor() as pool:
        told = pool.submit(end)
        assert drive(study, tables, notice_s=0.5)[0] == "interrupted"
        told.result()
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "WAITING"]


def test_who_is_told_to_end_twice_lets_a_trial_reach_its_next_report(study, drive, folder, wait_for):
    """Slurm sends SIGTERM to every process of a task, and its srun once more."""
    tables = {"study": {"objective": '"objectives:gated"', "trials": "2"}}

    def end():
        wait_for((folder / "waiting").exists)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        (folder / "gate").touch()

    with ThreadPoolExecutor() as pool:
        told = pool.submit(end)
        assert drive(study, tables, notice_s=60.0)[0] == "interrupted"
        told.result()
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "WAITING"]
    assert study.get_trials()[0].intermediate_values != {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"space": {"x": '{ type = "float", low = 0.0, high = 1.0 }'}}, r"demo\.toml: space\.x: must stay as it was"),
        ({"objective": {"steps": "5"}}, r"demo\.toml: objective\.steps: must stay as it was in study \"demo\", nothing; got 5"),
        ({"sampler": {"name": '"random"'}}, r"demo\.toml: sampler\.name: must stay as it was .* Join with the file that"),
        ({"enqueue": "[[enqueue]]\nx = 1"}, r"demo\.toml: enqueue: must stay"),
        ({"study": {"seed": "1"}}, r"demo\.toml: study\.seed: must stay as it was in study \"demo\", 0; got 1\."),
    ],
)
def test_another_file_is_refused(write, postgresql, change, expected):
    """Before there is a trial, too: who joins is not the one to mend the file."""
    url = postgresql.new_database()
    keys = {"trials": "1", "storage": f'"{url}"'}
    launch(load(write(study=keys, objective={"pause": "0.0"})), quiet=True)
    tables = {"study": keys, "objective": {"pause": "0.0"}}
    for name, more in change.items():
        tables[name] = {**tables.get(name, {}), **more} if isinstance(more, dict) else more
    path = write(**tables)
    with pytest.raises(StudyError, match=expected):
        join(load(path), quiet=True)


def test_the_budget_is_that_of_the_launch(write, postgresql):
    url = postgresql.new_database()
    path = write(study={"trials": "1", "storage": f'"{url}"'})
    launch(load(path), trials=4, timeout_s=1e-9, quiet=True)
    joined = join(load(path), quiet=True)
    assert (joined.reason, joined.budget, len(joined.study.trials)) == ("budget", 4, 4)
    assert replace(joined, retried=()) == joined
    assert asdict(Owner.current()).items() <= owner_of(joined.study.trials[0]).items()


def test_a_file_is_no_place_to_meet(write, search):
    refused = search("worker", write(), code=1)
    assert "the storage of a study that is joined must be a server" in refused.stderr
