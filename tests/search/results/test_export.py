import datetime
import hashlib
import io
import math
import os
import subprocess
import tomllib
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from search.driver.compatibility import check_same, describe
from search.errors import StorageError, StudyError
from search.files import write as write_document
from search.records.attributes import CONFIG_KEY, FILE_KEY, FINALIST_KEY, PROVENANCE_KEY, SEED_KEY, WARM_KEY
from search.results.export import export_trial
from search.results.status import print_status
from search.storage.open import close, create_study
from search.study_file.load import load

URL = "postgresql://me:secret@host/db"
OWN_KEYS = {
    *("study", "trial", "metrics", "seed", "params", "storage", "objective", "study_file", "study_file_sha256"),
    *("git_commit", "git_dirty", "python", "optuna", "finished", "warm_start", "recorded"),
    *("chosen_by", "finalists", "estimate"),
}
"""Of the provenance, which has the values too."""


@pytest.fixture
def study():
    study = optuna.create_study(study_name="demo", direction="maximize")
    space = {"x": optuna.distributions.FloatDistribution(-10, 10)}
    for value in (1.0, 3.0, 2.0):
        trial = study.ask(fixed_distributions=space)
        trial.set_user_attr(SEED_KEY, 5)
        study.tell(trial, value)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    return study


def exported(study, path, number=None, by=None):
    return tomllib.loads(export_trial(study, load(path), URL, number, by))


def test_the_best_trial_with_its_provenance(study, write):
    path = write(
        study={"environment": '["DATA", "OTHER"]'}, objective={"data": '"${DATA:-here}"', "x": "0", "nested": "{ a = 1 }"}
    )
    document = exported(study, path)
    assert document["environment"] == ["DATA"], "what the file may read, and reads"
    assert document["config"] == {"data": "${DATA:-here}", "x": study.trials[1].params["x"], "nested": {"a": 1}}
    provenance = document["provenance"]
    assert (provenance["study"], provenance["trial"], provenance["value"], provenance["seed"]) == ("demo", 1, 3.0, 5)
    assert provenance["study_file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert provenance["storage"] == "postgresql://me:***@host/db"
    assert provenance["optuna"] == optuna.__version__
    assert isinstance(provenance["finished"], datetime.datetime)
    assert "git_commit" not in provenance, "this folder is no repository"


def test_what_the_objective_recorded_goes_in(study, write):
    config = {"epochs": 3, "schedule": None, "deep": {"none": None, "list": [1, None]}}
    attrs = {CONFIG_KEY: config, PROVENANCE_KEY: {"manifest_sha256": "abc"}}
    study.add_trial(optuna.trial.create_trial(value=9.0, user_attrs=attrs))
    document = exported(study, write())
    assert document["config"] == {"epochs": 3, "deep": {"list": [1, ""]}}
    assert document["none"] == [["schedule"], ["deep", "none"], ["deep", "list", 1]], "else a reader takes its own defaults"
    assert document["provenance"]["recorded"] == {"manifest_sha256": "abc"}


def test_text_that_is_no_unicode_is_one_line(study, write):
    study.add_trial(optuna.trial.create_trial(value=9.0, user_attrs={CONFIG_KEY: {"data": "a\udcff"}}))
    with pytest.raises(StudyError, match="must be such that TOML can hold it"):
        exported(study, write())


@pytest.mark.parametrize(
    "changed",
    [
        {"objective": {"steps": "99"}},
        {"objective": {"steps": "4", "more": "1"}},
        {"study": {"objective": '"objectives:Parabola"', "seed": "9"}, "objective": {"steps": "4"}},
        {"study": {"environment": '["DATA", "OTHER"]'}, "objective": {"steps": "4", "data": '"${OTHER}"'}},
        {"space": {"x": '{ type = "float", low = 0.0, high = 99.0 }'}},
        {"sampler": {"name": '"random"'}},
        {"pruner": {"name": '"none"'}},
        {"enqueue": "[[enqueue]]\nx = 2.0"},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_a_config_has_the_settings_that_its_value_was_measured_with_whatever_the_file_says_by_now(write, search, changed):
    tables = {"study": {"environment": '["DATA"]'}, "objective": {"steps": "4", "data": '"${DATA:-here}"'}}
    path = write(**tables)
    study = create_study("sqlite:///demo.db", "demo", ["maximize"], [])
    check_same(study, load(path))
    space = {"x": optuna.distributions.FloatDistribution(-10, 10)}
    for value in (1.0, 2.0):
        study.add_trial(optuna.create_trial(value=value, params={"x": value}, distributions=space))
    close(study)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    write(**{**tables, **changed})
    for place in (path, f"{path}#demo", "sqlite:///demo.db#demo"):
        document = tomllib.loads(search("export", place, "--best", "value", "--ensemble", 2).stdout)
        configs = [{"steps": 4, "data": "${DATA:-here}", "x": value} for value in (2.0, 1.0)]
        assert [document["config"], *(member["config"] for member in document["members"])] == [configs[0], *configs], place
        assert document["environment"] == ["DATA"], "which it could not be trained without"
        provenance = document["provenance"]
        assert (provenance["objective"], provenance["study_file_sha256"]) == ("objectives:parabola", sha256)
        assert Path(provenance["study_file"]).name == "demo.toml"


def test_a_record_names_the_variables_that_may_be_read_and_its_settings_do_not(study, write):
    """Settings of somebody else's database would read whatever they name from the environment of who trains from the file."""
    path = write(study={"environment": '["DATA", "OTHER"]'}, objective={"data": '"${DATA}"'})
    record = describe(load(path))
    for environment, expected in [
        (["DATA", "OTHER"], ["DATA"]),
        (["OTHER"], None),
        ("DATA", None),
        ([["DATA"], None], None),
        (None, None),
    ]:
        study.set_user_attr(FILE_KEY, {**record, "environment": environment})
        document = tomllib.loads(export_trial(study, None, URL))
        assert (document["config"]["data"], document.get("environment")) == ("${DATA}", expected)
    study.set_user_attr(FILE_KEY, {key: value for key, value in record.items() if key != "environment"})
    assert "environment" not in tomllib.loads(export_trial(study, None, URL)), "of a record of before"
    assert exported(study, path)["environment"] == ["DATA"]


def test_dates_are_as_the_file_has_them_although_the_record_has_them_as_text(study, write):
    path = write(objective={"until": "2026-01-31"})
    study.set_user_attr(FILE_KEY, describe(load(path)))
    assert exported(study, path)["config"]["until"] == datetime.date(2026, 1, 31)


def git(*arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(write):
    path = write()
    git("init")
    git("add", "demo.toml")
    git("commit", "-m", "one")
    return path


def test_the_commit_of_the_folder(study, committed):
    provenance = exported(study, committed)["provenance"]
    assert (provenance["git_commit"], provenance["git_dirty"]) == (git("rev-parse", "HEAD"), False)
    committed.write_text(committed.read_text() + "\n")
    assert exported(study, committed)["provenance"]["git_dirty"] is True


@pytest.mark.parametrize(
    ("settings", "dirty"),
    [
        ({"core.fsmonitor": "./evil"}, False),
        ({"include.path": "../included"}, None),
        ({"filter.e.clean": "./evil"}, None),
        ({"filter.e.process": "./evil"}, None),
        ({"lfs.extension.e.clean": "./evil"}, None),
        ({"core.hooksPath": "hooks"}, False),
        ({"core.sshCommand": "./evil", "remote.o.url": "ssh://localhost/x"}, None),
        ({"remote.o.url": "ext::./evil", "protocol.ext.allow": "always"}, None),
        ({"remote.o.url": ".", "remote.o.uploadpack": "./evil"}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_nothing_is_run_that_a_strangers_repository_names(settings, dirty, study, committed):
    """Git runs it only where a file looks changed; what a remote names it runs to fetch what a partial clone has not."""
    Path("evil").write_text("#!/bin/sh\ntouch ran\n")
    Path("evil").chmod(0o755)
    Path("included").write_text('[filter "e"]\n\tclean = ./evil\n')
    Path("hooks").mkdir()
    Path("hooks/post-index-change").symlink_to("../evil")
    Path(".git/info/attributes").write_text("* filter=e\n")
    os.utime(committed, (0, 0))
    if "remote.o.url" in settings:
        tree = git("rev-parse", "HEAD^{tree}")
        Path(".git/objects", tree[:2], tree[2:]).unlink()
        settings = {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "o",
            "remote.o.promisor": "true",
            **settings,
        }
    for key, value in settings.items():
        git("config", key, value)
    provenance = exported(study, committed)["provenance"]
    assert len(provenance["git_commit"]) == 40
    assert not Path("ran").exists()
    assert provenance.get("git_dirty") is dirty
    subprocess.run(["git", "status", "--porcelain"], capture_output=True)
    assert Path("ran").exists() or "lfs.extension.e.clean" in settings, "else nothing was tried"


def test_filters_of_your_own_settings_do_not_count_as_the_repositorys(study, committed, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    git("config", "--global", "filter.lfs.clean", "cat")
    assert exported(study, committed)["provenance"]["git_dirty"] is False


def test_a_trial_by_number(study, write):
    path = write()
    assert exported(study, path, 2)["provenance"]["trial"] == 2
    with pytest.raises(StudyError, match="must be below 4; got 4"):
        exported(study, path, 4)
    with pytest.raises(StudyError, match="must name a COMPLETE trial; got FAIL"):
        exported(study, path, 3)


def test_nothing_to_export(write):
    with pytest.raises(StudyError, match="must have a COMPLETE trial; got none"):
        exported(optuna.create_study(), write())


BROKEN = {"constraints": [1.0]}


@pytest.mark.parametrize(
    ("trials", "got"),
    [
        ([(1.0, BROKEN)] * 5, "5 COMPLETE trials, none of which keeps the constraints"),
        ([(math.inf, {})], "1 COMPLETE trial, none of which has a finite value"),
        ([(1.0, BROKEN), (-math.inf, {})], "2 COMPLETE trials, none of which keeps the constraints and has a finite value"),
    ],
)
def test_complete_trials_that_are_no_result_are_not_none(write, trials, got):
    study = optuna.create_study()
    for value, attrs in trials:
        study.add_trial(optuna.trial.create_trial(value=value, system_attrs=attrs))
    with pytest.raises(StudyError, match=f"must have a COMPLETE trial; got {got}\\."):
        exported(study, write())
    printed = io.StringIO()
    print_status(study, budget=None, rows=None, console=Console(file=printed, width=200))
    assert printed.getvalue().splitlines()[-1] == f"No best trial: {got}."


def test_a_pareto_front_needs_a_choice(write):
    study = optuna.create_study(directions=["minimize", "minimize"])
    for values in ((0, 1), (1, 0), (1, 1)):
        study.add_trial(optuna.trial.create_trial(values=values))
    with pytest.raises(StudyError, match="got the Pareto front 0, 1"):
        exported(study, write())
    provenance = exported(study, write(), 1)["provenance"]
    assert (provenance["value_0"], provenance["value_1"]) == (1.0, 0.0)


@pytest.mark.parametrize(("by", "number"), [("value_0", 0), ("value_1", 2), ("compromise", 1)])
def test_a_rule_chooses_from_the_front_and_is_on_record(write, by, number):
    study = optuna.create_study(directions=["minimize", "maximize"])
    for values in ((0, 100), (0.3, 170), (1, 200), (1, 0)):  # the last one is dominated
        study.add_trial(optuna.trial.create_trial(values=values))
    provenance = exported(study, write(), by=by)["provenance"]
    assert (provenance["trial"], provenance["chosen_by"]) == (number, by)


@pytest.mark.parametrize(
    "front",
    [
        ((0, 1000), (0.3, 1001.4), (1, 1002)),
        ((-1.7e308, 0), (-1.2e308, 0.7), (1.7e308, 1)),
    ],
    ids=["of a small extent", "of the largest numbers"],
)
def test_the_compromise_goes_by_the_extent_of_the_front(write, front):
    study = optuna.create_study(directions=["minimize", "maximize"])
    for values in front:
        study.add_trial(optuna.trial.create_trial(values=values))
    assert exported(study, write(), by="compromise")["provenance"]["trial"] == 1


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_value_has_a_key_of_its_own_whatever_its_metric_is_called(write):
    names = sorted({*OWN_KEYS, "values.seed", "f1"})
    study = optuna.create_study(directions=["minimize"] * len(names))
    study.set_metric_names(names)
    attrs = {SEED_KEY: 5, PROVENANCE_KEY: {"a": 1}, WARM_KEY: {"study": "s", "trial": 1, "compared": True}}
    study.add_trial(optuna.trial.create_trial(values=list(range(len(names))), user_attrs=attrs))
    provenance = exported(study, write(), by="f1")["provenance"]
    keys = {name: name if name == "f1" else f"values.{name}" for name in names}
    assert {name: provenance[keys[name]] for name in names} == {name: float(at) for at, name in enumerate(names)}
    assert provenance.keys() - keys.values() == OWN_KEYS - {"git_commit", "git_dirty", "finalists", "estimate"}
    assert (provenance["trial"], provenance["seed"], provenance["chosen_by"]) == (0, 5, "f1")


def test_a_rule_that_is_none_is_refused(write):
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trial(optuna.trial.create_trial(values=(0, 1)))
    with pytest.raises(StudyError, match=r"--by must be one of value_0, value_1, compromise; got luck"):
        exported(study, write(), by="luck")


def test_a_file_is_written_whole_or_not_at_all(folder):
    write_document("a = 1\n", Path("out.toml"))
    assert Path("out.toml").read_text() == "a = 1\n"
    with pytest.raises(StorageError, match=r"out\.toml: must be writable; got: No such file or directory"):
        write_document("a = 1\n", Path("none/out.toml"))
    (folder / "taken").mkdir()
    with pytest.raises(StorageError, match="must be writable"):
        write_document("a = 1\n", Path("taken"))
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []


def lucky_study(storage, name="demo"):
    """A study whose best value is one trial's luck: a neighbour of the same config is far below."""
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    space = {"x": optuna.distributions.FloatDistribution(-10, 10)}
    values = [(at - 10, 0.8 - 0.001 * (at - 14) ** 2) for at in range(0, 20)] + [(-9.5, 0.85), (-9.6, 0.6)]
    for x, value in values:
        study.add_trial(optuna.create_trial(value=value, params={"x": float(x)}, distributions=space))
    return study


def test_export_writes_the_likely_best_and_says_so(write, search, tmp_path):
    lucky_study(f"sqlite:///{tmp_path}/demo.db")
    path = write()
    done = search("export", path, "-o", "best.toml")
    document = tomllib.loads(Path("best.toml").read_text())
    assert document["provenance"]["trial"] == 14
    assert document["provenance"]["estimate"] == pytest.approx(0.8, abs=0.02)
    said = r"trial 14 (0.8, estimated 0."
    assert said in done.stderr
    assert "instead of trial 20 (0.85, estimated 0." in done.stderr
    assert f"# Chosen by estimate: {said}" in Path("best.toml").read_text()
    done = search("export", path, "-o", "lucky.toml", "--best", "value")
    lucky = tomllib.loads(Path("lucky.toml").read_text())
    assert (lucky["provenance"]["trial"], "estimate" in lucky["provenance"], done.stderr) == (20, False, "")
    done = search("export", path, "-o", "one.toml", "--trial", "3")
    assert (tomllib.loads(Path("one.toml").read_text())["provenance"]["trial"], done.stderr) == (3, "")


def test_export_writes_the_winner_of_the_finalists_unless_best_says_otherwise(write, search, tmp_path):
    storage = f"sqlite:///{tmp_path}/demo.db"
    lucky_study(storage)
    linked = optuna.create_study(storage=storage, study_name="demo-finalists", direction="maximize")
    for seed in range(2):
        linked.add_trial(optuna.create_trial(value=0.9, user_attrs={FINALIST_KEY: 3, SEED_KEY: seed}))
    path = write()
    for options, number, key in (
        ((), 3, "finalists"),
        (("--best", "value"), 20, None),
        (("--best", "estimate"), 14, "estimate"),
    ):
        done = search("export", path, *options)
        provenance = tomllib.loads(done.stdout)["provenance"]
        assert provenance["trial"] == number
        assert {"finalists", "estimate"} & provenance.keys() == ({key} if key else set())
        assert ("the winner of demo-finalists" in done.stderr) is (key == "finalists")
    assert tomllib.loads(search("export", path, "--best", "value", "--trial", 3).stdout)["provenance"]["trial"] == 3


def test_where_both_are_one_trial_nothing_is_said(write, search, tmp_path):
    study = lucky_study(f"sqlite:///{tmp_path}/demo.db")
    space = {"x": optuna.distributions.FloatDistribution(-10, 10)}
    study.add_trial(optuna.create_trial(value=0.9, params={"x": 4.0}, distributions=space))
    done = search("export", write(), "-o", "best.toml")
    assert (tomllib.loads(Path("best.toml").read_text())["provenance"]["trial"], done.stderr) == (22, "")


def test_the_best_trials_as_members_of_one_model(study, write):
    path = write(study={"environment": '["DATA"]'}, objective={"data": '"${DATA:-here}"'})
    document = tomllib.loads(export_trial(study, load(path), URL, together=2))
    assert document["environment"] == ["DATA"]
    assert document["provenance"]["trial"] == 1
    configs = [{"data": "${DATA:-here}", **study.trials[number].params} for number in (1, 2)]
    assert document["members"] == [{"trial": n, "seed": 5, "config": config} for n, config in zip((1, 2), configs, strict=True)]
    assert len(tomllib.loads(export_trial(study, load(path), URL, together=3))["members"]) == 3, "all that there are"
    with pytest.raises(StudyError, match=r"--ensemble: must be at most the number of COMPLETE trials, 3; got 4\. Lower it\."):
        export_trial(study, load(path), URL, together=4)
    chosen = tomllib.loads(export_trial(study, load(path), URL, 0, together=2))
    assert [member["trial"] for member in chosen["members"]] == [0, 1], "the one that was named comes first"


def test_what_only_a_member_reads_of_the_environment_may_be_read(study, write):
    path = write(study={"environment": '["DATA", "OTHER"]'})
    for value, config in ((9.0, {"a": 1}), (8.0, {"a": "${OTHER:-there}"})):
        study.add_trial(optuna.trial.create_trial(value=value, user_attrs={CONFIG_KEY: config, SEED_KEY: 1}))
    assert tomllib.loads(export_trial(study, load(path), URL, together=2))["environment"] == ["OTHER"]


def test_what_a_member_does_not_have_is_on_record(study, write):
    study.add_trial(optuna.trial.create_trial(value=9.0, user_attrs={CONFIG_KEY: {"a": None, "b": [1, None]}, SEED_KEY: 1}))
    document = tomllib.loads(export_trial(study, load(write()), URL, together=2))
    assert document["members"][0] == {"trial": 4, "seed": 1, "none": [["a"], ["b", 1]], "config": {"b": [1, ""]}}
