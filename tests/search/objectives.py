"""Objectives that behave and misbehave; each test finds this file in its current folder, as a user's own would be."""

import json
import os
import random
import signal
import subprocess
import time
from multiprocessing import get_context
from pathlib import Path


class OwnError(Exception):
    """Stands for the one-line errors of an objective's own package."""


def pruned():
    """Returns Optuna's exception; a worker that needs none starts without Optuna, which takes a while to import."""
    from optuna import TrialPruned

    return TrialPruned()


def parabola(trial, steps=4, pause=0.0):
    x = trial.suggest_float("x", -10.0, 10.0)
    for step in range(steps):
        time.sleep(pause)
        trial.report(-((x - 2) ** 2) * (steps - step), step)
        if trial.should_prune():
            raise pruned()
    return -((x - 2) ** 2) + (trial.user_attrs["seed"] % 1000) * 1e-9


class Telling:
    """Says how often it reports."""

    reports = {"epoch": ["epochs"]}  # noqa: RUF012

    def __init__(self, epochs):
        self.epochs = epochs

    def __call__(self, trial):
        return parabola(trial, self.epochs)


class Measured:
    """Says what is reached without a search."""

    def __init__(self, told=None, data="a"):
        self._told, self._data = told, data

    def __call__(self, trial):
        return parabola(trial)

    def fingerprint(self):
        return {"data": self._data}

    def references(self):
        return {"the middle": -4.0, "chance": [-37]} if self._told is None else self._told


def folded(trial, folds):
    """Each fold is harder or easier for all configs alike."""
    x = trial.suggest_float("x", -10.0, 10.0)
    results = []
    for fold in range(folds):
        results.append(-((x - 2) ** 2) + 100 * fold)
        trial.report(results[-1], fold)
        if fold < folds - 1 and trial.should_prune():
            raise pruned()
    return sum(results) / folds


def remember(trial, die=""):
    """Counts its steps in a file that outlives a loss; dies once in its third step where `die` names a file to leave behind."""
    counter = trial.checkpoint_folder() / "step"
    begun = int(counter.read_text()) if counter.exists() else 0
    trial.set_user_attr("begun", begun)
    for step in range(begun, 4):
        counter.write_text(str(step))
        if die and step == 2 and not Path(die).exists():
            Path(die).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        trial.report(float(step), step)
        while step == 2 and Path("hold").exists():
            time.sleep(0.02)
    return trial.suggest_float("x", -10.0, 10.0)


def bounded(trial, directions=1):
    """Would have x as large as can be, but not above 2; a trial of every third x is pruned."""
    x = trial.suggest_float("x", -10.0, 10.0)
    trial.set_constraint("size", x - 2)
    trial.set_constraint("positive", -1)
    if directions == 1:
        trial.report(x, 0)
        if round(x * 1000) % 3 == 0:
            raise pruned()
    return x if directions == 1 else (x,) * directions


class Bounded:
    """Is as good as `x` after any number of epochs, but keeps its constraint only from so many on, where x is not above 2."""

    def __init__(self, *, kept_from=1):
        self.kept_from = kept_from

    def check_fidelity(self, name):
        pass

    def __call__(self, trial):
        x, epochs = trial.suggest_float("x", -10.0, 10.0), trial.suggest_int("epochs", 1, 64)
        trial.set_user_attr(f"before_{epochs}", trial.constraints)
        trial.set_constraint("size", max(x - 2, 0.0) + (epochs < self.kept_from) / epochs)
        return x


class Climbing:
    """Learns for some epochs, and goes on from its checkpoint; dies once, at `die`, unless the file `marker` is there."""

    def __init__(self, *, pause=0.0, die=-1, marker="died"):
        self.pause, self.die, self.marker = pause, die, marker

    def check_fidelity(self, name):
        if name != "epochs":
            raise OwnError(f"space.{name}: only epochs can be paused; got {name}.")

    def __call__(self, trial):
        x, epochs = trial.suggest_float("x", -10.0, 10.0), trial.suggest_int("epochs", 1, 64)
        file = trial.checkpoint_folder() / "state.json" if trial.checkpoint_folder() else None
        begun, value = json.loads(file.read_text()) if file is not None and file.exists() else (0, -100.0)
        trial.set_user_attr(f"from_{begun}", os.getpid())
        for epoch in range(begun, epochs):
            noise = random.Random(trial.user_attrs["seed"] + epoch).gauss(0, 0.1)
            value = 0.7 * value - 0.3 * (x - 2) ** 2 + noise
            time.sleep(self.pause)
            trial.report(value, epoch)
            if epoch == self.die and not Path(self.marker).exists():
                Path(self.marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if file is not None:
                file.write_text(json.dumps([epoch + 1, value]))
        return value


def straight(trial):
    """What the objective `Climbing` gives where a trial is trained without a pause."""
    from search.workers.protocol import ReportReply, RunTrial
    from search.workers.trial import WorkerTrial

    task = RunTrial(trial.number, trial.params, {"seed": trial.user_attrs["search:seed"]}, answered=False)
    return Climbing()(WorkerTrial(task, lambda _: ReportReply(), lambda _: None))


class ChaoticClimbing(Climbing):
    """Every 10th trial kills its worker at the end of its second leg, every 15th hangs there, every 20th raises."""

    def __call__(self, trial):
        value = super().__call__(trial)
        if trial.params["epochs"] > 1:
            end_badly(trial.number)
        return value


def end_badly(number):
    """Raises in every 20th trial, kills the worker in every 10th, and hangs in every 15th."""
    if number % 20 == 7:
        raise OwnError("chaos")
    if number % 10 == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 15 == 13:
        time.sleep(600)


def gated(trial):
    """Lets the test act in the middle of a trial: says that it is there, and goes on once the file `gate` is."""
    Path("waiting").touch()
    while not Path("gate").exists():
        time.sleep(0.02)
    return parabola(trial)


class Parabola:
    def __init__(self, *, steps=4, pause=0.0, note="none"):
        self.steps, self.pause, self.note, self.trials = steps, pause, note, 0

    def __call__(self, trial):
        self.trials += 1
        trial.set_user_attr("pid", os.getpid())
        trial.set_user_attr("nth_in_worker", self.trials)
        trial.set_user_attr("note", self.note)
        return parabola(trial, self.steps, self.pause)


def at_length(trial, **long):
    """Has much to say of itself, and fails at length every other time."""
    trial.set_user_attr("search:config", {"epochs": 3, **long})
    trial.set_user_attr("search:provenance", {str(part): "a" * 64 for part in range(5)})
    trial.suggest_float("x", -10.0, 10.0)
    if trial.number % 2:
        raise OwnError("no " + "memory " * 60)
    return 1.0


class OfData:
    """Its values depend on a file, and it says so."""

    def __init__(self, *, pause=0.0, broken=False):
        self.data, self.pause, self.broken = float(Path("data.txt").read_text()), pause, broken

    def __call__(self, trial):
        if self.broken:
            raise OwnError("no such setting")
        return parabola(trial, pause=self.pause) + self.data

    def fingerprint(self):
        return {"data": str(self.data), "code": "1"}


class OfDataInWords(OfData):
    def describe_change(self, before, now):
        return f"data: one file\nchanged, {before['data']} became {now['data']}"


class BadFingerprint(Parabola):
    def fingerprint(self):
        return {"data": 7}


def two_values(trial):
    x = trial.params["x"]
    return x, -x


def overdo(trial):
    """Leaves something that no storage can hold with each of its first trials, then a long text that most can, then nothing."""
    x = trial.suggest_float("x", -10.0, 10.0)
    steps = [lambda step=step: trial.report(x, step) for step in (10**19, 3 * 10**9)]
    keys = [lambda key=key: trial.set_user_attr(key, x) for key in ("half \ud83e", "nul\0", "k" * 600, 7)]
    names = [lambda name=name: trial.upload_artifact(name, b"") for name in ("half \ud83e", "nul\0")]
    others = [lambda: trial.upload_artifact("text", "text"), lambda: trial.set_user_attr("long", "y" * 70_000), lambda: None]
    calls = [*steps, *keys, *names, *others]
    calls[trial.number]()
    return x


def misbehave(trial, mode, marker="", bad=(1,)):
    """Does what `mode` says in the trials of `bad`, and once only where `marker` names a file to leave behind."""
    x = trial.suggest_float("x", -10.0, 10.0)
    if trial.number not in bad or (marker and Path(marker).exists()):
        return x
    if marker:
        Path(marker).touch()
    if mode == "raise":
        raise OwnError("the disk is\nfull")
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "outlived":
        Path("outlives").write_text(str(subprocess.Popen(["sleep", "120"], close_fds=False).pid))
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "terminate":
        forked = get_context("fork").Process(target=time.sleep, args=(120,))
        forked.start()
        program = subprocess.Popen(["sleep", "120"])
        os.kill(os.getpid(), signal.SIGTERM)
        for child in (forked, program):
            child.terminate()
        forked.join()
        return float(forked.exitcode + program.wait())
    if mode == "exit":
        os._exit(7)
    if mode == "sys_exit":
        raise SystemExit(3)
    if mode == "bad_report":
        trial.report("high", 0)
    return {"none": None, "nan": float("nan"), "text": "high", "two": (1.0, 2.0), "inf": float("-inf")}[mode]


class Knows:
    """Says what it knows of the study file, and leaves a file behind once it is built."""

    def __init__(self, y=0.5):
        Path("built").touch()

    @classmethod
    def check_space(cls, space, enqueue, settings):
        known = [f"space.{name}: must be x or y; got another." for name in space if name not in ("x", "y")]
        return known + [f"enqueue[{at}]: must be small." for at, entry in enumerate(enqueue) if entry.get("x", 0) > 5]

    @classmethod
    def directions(cls, settings):
        return ["maximize"]

    @classmethod
    def defaults(cls, settings):
        return {"x": 1, "y": settings.get("y", 0.5), "unrelated": None}

    def __call__(self, trial):
        return trial.params["x"] + trial.params.get("y", 0)


class NoStart:
    def __init__(self, kind="own"):
        if kind == "own":
            raise OwnError("data: the folder must exist; got /none. Create it.")
        if kind == "exit":
            os._exit(3)
        raise {"key": KeyError, "bare": Exception}[kind]("data")

    def __call__(self, trial):
        return 0.0


def run_out(trial, above=0.0, leaks=False):
    """Runs out of memory where `x` is above a bound; with `leaks`, only in a worker that ran something before."""
    x = trial.suggest_float("x", -10.0, 10.0)
    _TRIALS_HERE.append(trial.number)
    if x > above and not (leaks and len(_TRIALS_HERE) == 1):
        raise MemoryError("cannot allocate 3 TiB")
    return x


_TRIALS_HERE: list[int] = []


def grow(trial, mib):
    """Keeps so many MiB of each trial."""
    _KEPT.append(b"x" * (mib << 20))
    trial.set_user_attr("pid", os.getpid())
    return float(trial.number)


_KEPT: list[bytes] = []


def chaos(trial):
    """Every 10th trial kills its worker, every 15th hangs, every 20th raises."""
    x = trial.suggest_float("x", -10.0, 10.0)
    for step in range(3):
        trial.report(x, step)
        time.sleep(0.02)
    end_badly(trial.number)
    return x


def hang(trial, bad=(1,)):
    if trial.number in bad:
        trial.report(0.0, 0)
        time.sleep(600)
    return 1.0


class StartsTwice:
    """Dies in its first trial; cannot be built as often after that as `fails` says."""

    def __init__(self, fails):
        starts = len(list(Path().glob("start-*")))
        Path(f"start-{starts}").touch()
        if 1 <= starts <= fails:
            os._exit(3)

    def __call__(self, trial):
        if trial.number == 0:
            os._exit(7)
        return 1.0


def swallow(trial):
    """Reports for ever, and catches every exception that it can."""
    for step in range(10_000):
        try:
            time.sleep(0.02)
            trial.report(1.0, step)
        except Exception:
            pass
    return 1.0


def deaf(trial):
    Path("deaf").touch()
    time.sleep(600)
    return 1.0


def leave_files(trial, size=10, name="curve.svg"):
    trial.upload_artifact(name, b"x" * size)
    trial.upload_artifact("table.csv", f"trial,{trial.number}\n".encode())
    return float(trial.number)


def leave_files_and_talk(trial):
    print("x" * 100_000)
    return leave_files(trial)


def noisy(trial):
    """Better where x is larger, but for noise of the seed that is worth up to 4."""
    return trial.suggest_float("x", -10.0, 10.0) + 4.0 * random.Random(trial.user_attrs["seed"]).random()


def odd_seeds_end(trial):
    """Prunes itself by its seed, whatever the driver says of it."""
    x = trial.suggest_float("x", -10.0, 10.0)
    if trial.user_attrs["seed"] % 2:
        raise pruned()
    return x


def conditional(trial):
    """Better with sgd and much momentum, which is asked for only where it is."""
    trial.set_user_attr("seen", sorted(trial.params))
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return trial.suggest_int("momentum", 7, 9) / 10 if optimizer == "sgd" else 0.0
