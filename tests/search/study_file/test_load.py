import dataclasses

import pytest

from search.errors import StudyFileError
from search.study_file.load import load
from search.study_file.policy import Policy, RayResources


def message(path):
    with pytest.raises(StudyFileError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_a_whole_file(write):
    spec = load(
        write(
            study={"timeout": '"20m"', "seed": "7", "storage": '"sqlite:///other.db"', "environment": '["DATA"]'},
            space={"n": '{ type = "int", low = 4, high = 20, step = 4 }', "c": '{ type = "categorical", choices = [16, 32] }'},
            sampler={"name": '"random"'},
            pruner={"name": '"median"', "n_startup_trials": "2"},
            enqueue="[[enqueue]]\nx = 1\nn = 8",
            objective={"data": '"${DATA}"'},
        )
    )
    assert (spec.name, spec.seed) == ("demo", 7)
    assert spec.policy == Policy(trials=8, timeout_s=1200.0)
    assert spec.directions == ("maximize",)
    assert spec.metrics == ("score",)
    assert list(spec.space) == ["x", "n", "c"]
    assert spec.pruner.options == {"n_startup_trials": 2}
    assert spec.enqueue == ({"x": 1, "n": 8},)
    assert spec.settings == {"data": "${DATA}"}, "variables are expanded when a launch needs them, not before"
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.seed = 1


def test_defaults(write):
    spec = load(write())
    assert spec.storage == "sqlite:///demo.db"
    assert (spec.sampler.name, spec.pruner.name, spec.seed, spec.policy.timeout_s) == ("tpe", "percentile", 0, None)
    assert spec.pruner.options == {"percentile": 75.0}
    assert spec.policy.executor is None


def test_an_executor(write):
    spec = load(
        write(study={"executor": '{ kind = "ray", address = "10.0.0.1:6379", gpus_per_trial = 0.5, cpus_per_trial = 4 }'})
    )
    assert spec.policy.executor == RayResources(kind="ray", address="10.0.0.1:6379", gpus_per_trial=0.5, cpus_per_trial=4)
    assert spec.policy.device_share == 0.5
    several = load(write(study={"executor": '{ kind = "ray", gpus_per_trial = 2 }'}))
    assert (several.policy.device_share, load(write()).policy.device_share) == (2, 1)
    assert load(write(study={"executor": '{ kind = "ray" }'})).policy.executor == RayResources(kind="ray")


def test_several_directions_have_no_pruner_unless_asked_for(write):
    study = {"direction": None, "directions": '["maximize", "minimize"]', "metric": None, "metrics": '["f1", "seconds"]'}
    spec = load(write(study=study))
    assert spec.pruner.name == "none"
    assert spec.metrics == ("f1", "seconds")


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"study": {"directon": '"maximize"'}}, 'study.directon: unknown key; got "maximize". Did you mean "direction"?'),
        ({"sapce": {"y": "1"}}, 'sapce: unknown key; got { y = 1 }. Did you mean "space"?'),
        ({"study": {"trials": None}}, "study.trials: the key is required; got nothing. Add it."),
        ({"study": {"trials": "0"}}, "study.trials: must be >= 1; got 0."),
        ({"study": {"trials": '"8"'}}, 'study.trials: must be a whole number; got "8".'),
        ({"study": {"seed": "true"}}, "study.seed: must be a whole number; got true."),
        ({"study": {"name": '"a/b"'}}, 'study.name: must be letters, digits, dots, dashes and underscores; got "a/b".'),
        ({"study": {"objective": '"objectives"'}}, 'study.objective: must be module:attribute; got "objectives". Write it as'),
        ({"study": {"direction": '"up"'}}, "study.direction: must be 'minimize' or 'maximize'; got \"up\"."),
        ({"study": {"direction": None}}, "study: exactly one of direction and directions is required; got neither."),
        ({"study": {"directions": '["minimize"]'}}, "study: exactly one of direction and directions is required; got both."),
        ({"study": {"metric": None, "metrics": '["a", "b"]'}}, "study: one direction has one metric; got"),
        ({"study": {"timeout": '"soon"'}}, 'study.timeout: must be a positive time; got "soon". Write "90s"'),
        (
            {"study": {"executor": '{ kind = "slurm" }'}},
            "study.executor.kind: must be 'ray'; got \"slurm\".",
        ),
        (
            {"study": {"executor": '{ kind = "ray", adress = "auto" }'}},
            'study.executor.adress: unknown key; got "auto". Did you mean "address"?',
        ),
        (
            {"study": {"executor": '{ kind = "ray", address = "ray://head:10001" }'}},
            'study.executor.address: must be "auto" or HOST:PORT; got "ray://head:10001".',
        ),
        (
            {"study": {"executor": '{ kind = "ray", gpus_per_trial = 1.5 }'}},
            "study.executor: a trial takes a part of one GPU or whole ones; got 1.5. Write a number up to 1, or a whole one.",
        ),
        ({"study": {"executor": '{ kind = "ray", cpus_per_trial = 0 }'}}, "study.executor.cpus_per_trial: must be > 0.0;"),
        (
            {"study": {"executor": '{ kind = "ray" }', "workers_per_device": "2"}},
            "study: workers_per_device must not be given with an executor, which deals out devices itself; got 2. "
            "Write executor.gpus_per_trial = 0.5 instead.",
        ),
        ({"space": None}, "space: the key is required; got nothing. Add it."),
        ({"space": {"x": None}}, "space: must not be empty; got {"),
        ({"space": {"x": "3"}}, "space.x: must be a table; got 3."),
        ({"space": {"x": "{ low = 1, high = 2 }"}}, "space.x: type is required; got { low = 1, high = 2 }."),
        (
            {"space": {"x": '{ type = "flaot", low = 1, high = 2 }'}},
            'space.x.type: unknown type; got "flaot". Did you mean "float"?',
        ),
        (
            {"space": {"x": '{ type = "float", low = 2.0, high = 1.0 }'}},
            "space.x: low must be <= high; got low = 2.0, high = 1.0. Swap",
        ),
        (
            {"space": {"x": '{ type = "float", low = 0.0, high = 1.0, log = true }'}},
            "space.x: low must be > 0 when log = true; got 0.0. Raise low, or remove log.",
        ),
        ({"space": {"x": '{ type = "float", low = 1.0, high = inf }'}}, "space.x.high: must be a finite number; got inf."),
        ({"space": {"x": '{ type = "float", low = 1.0 }'}}, "space.x.high: the key is required"),
        (
            {"space": {"x": '{ type = "float", low = 1.0, hihg = 2.0 }'}},
            'space.x.hihg: unknown key; got 2.0. Did you mean "high"?',
        ),
        ({"space": {"x": '{ type = "int", low = 1.5, high = 2 }'}}, "space.x.low: must be a whole number; got 1.5."),
        (
            {"space": {"x": '{ type = "int", low = 0, high = 8, log = true }'}},
            "space.x: low must be >= 1 when log = true; got 0.",
        ),
        (
            {"space": {"x": '{ type = "int", low = 1, high = 8, step = 2 }'}},
            "space.x: high must be low plus a multiple of step; got",
        ),
        ({"space": {"x": '{ type = "categorical", choices = [] }'}}, "space.x: choices must name at least one value; got []."),
        (
            {"space": {"x": '{ type = "categorical", choices = [1, 2, 1] }'}},
            "space.x: choices must differ from each other; got [1, 2, 1].",
        ),
        ({"sampler": {"name": '"tpee"'}}, 'sampler.name: unknown sampler; got "tpee". Did you mean "tpe"?'),
        (
            {"sampler": {"name": '"tpe"', "n_startup": "3"}},
            'sampler.n_startup: unknown option; got 3. Did you mean "n_startup_trials"?',
        ),
        ({"sampler": {"name": '"tpe"', "n_startup_trials": '"3"'}}, 'sampler.n_startup_trials: must be of type int; got "3".'),
        (
            {"sampler": {"name": '"tpe"', "initial_design": "3"}},
            "sampler.initial_design: must be true or false; got 3. Change it.",
        ),
        (
            {"sampler": {"name": '"tpe"', "initial_desing": "true"}},
            'sampler.initial_desing: unknown option; got true. Did you mean "initial_design"?',
        ),
        (
            {"sampler": {"name": '"random"', "initial_design": "true"}},
            "sampler.initial_design: unknown option; got true. It takes none.",
        ),
        ({"sampler": {"name": '"random"', "seed": "3"}}, "sampler.seed: unknown option; got 3. It takes none."),
        (
            {"sampler": {"name": '"grid"'}},
            "sampler.name: grid needs a list of values for every parameter; got x, a float without step.",
        ),
        ({"sampler": {"name": '"nsgaii"', "population_size": "1"}}, "sampler.population_size: must lie in [2, 1000]; got 1."),
        ({"sampler": {}}, "sampler: exactly one of name and target is required; got neither"),
        ({"pruner": {"name": '"meidan"'}}, 'pruner.name: unknown pruner; got "meidan". Did you mean "median"?'),
        ({"pruner": {"name": '"percentile"'}}, "pruner.percentile: the option is required; got nothing. Add it."),
        (
            {"pruner": {"name": '"threshold"'}},
            "pruner: threshold does not accept these options; got Either lower or upper must be specified. Change them.",
        ),
        (
            {"pruner": {"name": '"median"', "n_startup_trials": "8"}},
            "pruner.n_startup_trials: median can never prune: it waits for",
        ),
        ({"enqueue": "[[enqueue]]\ny = 1"}, "enqueue[0].y: is not in [space]; got 1. Known: x."),
        ({"enqueue": "[[enqueue]]\nx = 11"}, "enqueue[0].x: must lie in [-10.0, 10.0]; got 11. Change it, or widen space.x."),
        ({"enqueue": '[[enqueue]]\nx = "1"'}, 'enqueue[0].x: must be a number; got "1". Write a number.'),
        ({"enqueue": "[[enqueue]]"}, "enqueue[0]: must name at least one parameter; got an empty table."),
    ],
)
def test_each_broken_rule_is_one_line(write, tables, expected):
    assert message(write(**tables)).startswith(expected)


def test_a_pruner_for_several_directions_can_never_fire(write):
    path = write(
        study={"direction": None, "directions": '["maximize", "minimize"]', "metric": None}, pruner={"name": '"median"'}
    )
    assert "no pruner can ever prune" in message(path)


def test_an_enqueued_value_must_be_on_the_step(write):
    path = write(space={"n": '{ type = "int", low = 4, high = 20, step = 4 }'}, enqueue="[[enqueue]]\nn = 5")
    assert message(path).startswith("enqueue[0].n: must be 4 plus a multiple of 4; got 5.")


def test_a_grid_cannot_complete_an_enqueued_config(write):
    space = {"x": '{ type = "int", low = 1, high = 3 }', "y": '{ type = "int", low = 1, high = 3 }'}
    path = write(space=space, sampler={"name": '"grid"'}, enqueue="[[enqueue]]\nx = 2")
    assert message(path) == "enqueue[0]: the grid sampler needs whole configs; got none for y. Add it."


def test_without_a_sampler_there_must_be_whole_configs(write):
    space = {"y": '{ type = "int", low = 1, high = 3 }'}
    path = write(sampler={"name": '"none"'})
    assert message(path) == "enqueue: the sampler none tries it alone; got no entry. Add one, or take another sampler."
    path = write(space=space, sampler={"name": '"none"'}, enqueue="[[enqueue]]\nx = 2.0")
    assert message(path) == "enqueue[0]: the none sampler needs whole configs; got none for y. Add it."


def test_toml_errors_name_line_and_column(folder):
    (folder / "broken.toml").write_text("[study]\nname = \n")
    assert "line 2, column 8" in message("broken.toml")


def test_files_that_cannot_be_read(folder):
    assert message("none.toml").startswith("the study file must exist")
    assert message(".").startswith("the study file must be a regular file; got a folder")
    (folder / "binary.toml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in message("binary.toml")


def test_all_errors_of_a_file_are_told_at_once(write):
    def lines(**tables):
        with pytest.raises(StudyFileError) as caught:
            load(write(**tables))
        return [line.removeprefix("demo.toml: ").partition(":")[0] for line in caught.value.lines]

    wrong = {"space": {"x": '{ type = "float", lwo = 0.0, high = true }'}, "study": {"directon": '"maximize"', "seed": "-1"}}
    assert lines(**wrong) == ["study.directon", "space.x.lwo", "study.seed", "space.x.high"]
    wrong = {"sampler": {"name": '"tpee"'}, "pruner": {"name": '"meidan"'}, "objective": {"a": '"${HOME}"', "b": '"${USER}"'}}
    assert lines(**wrong, enqueue="[[enqueue]]\nz = 1\nx = 99") == [
        "sampler.name",
        "enqueue[0].z",
        "enqueue[0].x",
        "pruner.name",
        "objective.a",
        "objective.b",
    ]


def test_very_many_errors_are_counted(write):
    path = write(space={f"p{number}": "{}" for number in range(30)})
    with pytest.raises(StudyFileError) as caught:
        load(path)
    assert len(caught.value.lines) == 21
    assert caught.value.lines[-1] == f"{path}: 10 more errors."
