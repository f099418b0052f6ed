"""Studies of anybody's: what plain Optuna lets into a storage, whatever it does to whoever reads it."""

import datetime
import math
import random
from collections.abc import Callable

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

MARKUP = "<script>alert(1)</script>[/bold][red]&amp;$plotly{x}%s"
LONG = "long " * 2_000
NAMES = {
    "newline": "two\nlines\r\n\tand a tab",
    "markup": MARKUP,
    "closing": "acc[/val]",
    "equals": "a=b,c=d",
    "long": LONG,
    "surrogate": "\udcff\udc80 not utf-8",
    "empty": "",
    "blank": " ",
    "control": "\x1b[31mred\x07\x00nul"[:-4],
    "right to left": "\u202eevil\u2066",
    "slash": "../../etc/passwd",
    "image": '<img src="http://example.com/x.png" onerror=alert(1)>',
    "unicode": "naïve → 🧠",
    "percent": "%{y} %(x)s {0} $title",
    "formula": "=1+1",
}
START = datetime.datetime(2026, 1, 1, 8)
OURS = (
    "owner",
    "driver",
    "study_file",
    "seed",
    "config",
    "provenance",
    "warm_start",
    "portfolio",
    "retry_of",
    "retries",
    "enqueued",
    "finalist",
)
OURS += ("failure", "traceback", "trials", "trial_id", "status", "metrics", "unknown_times", "memory")
WRONG = (
    None,
    True,
    -1,
    1.5,
    2**70,
    "text",
    "",
    [],
    [1, [2]],
    {},
    {"host": 1},
    {"study": 1, "trial": [], "compared": 0},
    [[[]]],
)
WRONG += ({"host": "a", "pid": "b", "started": None, "worker": 10**9}, {"study": "x", "all": "no"}, {"a": {"b": [None]}})

Study = optuna.Study
KINDS: dict[str, Callable[..., Study]] = {}


def kind(name, **keywords):
    """Registers what fills a new study."""

    def register(fill):
        def make(storage):
            options = {"direction": "maximize"} if "directions" not in keywords else {}
            study = optuna.create_study(
                storage=storage,
                study_name=keywords.get("study_name", name),
                **options,
                **{key: value for key, value in keywords.items() if key == "directions"},
            )
            fill(study)
            return study

        KINDS[name] = make
        return fill

    return register


def add(study, value=1.0, state="COMPLETE", *, params=None, space=None, start=0.0, seconds=10.0, **more):
    values = None if value is None else list(value) if isinstance(value, tuple) else [value]
    trial = create_trial(state=TrialState[state], values=values, params=params or {}, distributions=space or {}, **more)
    if start is None:
        trial.datetime_start = START
    elif state != "WAITING":
        trial.datetime_start = START + datetime.timedelta(seconds=start)
        if trial.state.is_finished():
            trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=seconds)
    if start is None and trial.state.is_finished():
        trial.datetime_complete = START
    study.add_trial(trial)


def fill(study, values, space=None, draw=None, **more):
    """A trial for each value, with parameters drawn from the space."""
    space = {"x": FloatDistribution(-10, 10), "y": FloatDistribution(1e-5, 1, log=True)} if space is None else space
    numbers = random.Random(0)

    def one(distribution):
        if isinstance(distribution, CategoricalDistribution):
            return numbers.choice(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return distribution.low + distribution.step * numbers.randint(
                0, (distribution.high - distribution.low) // distribution.step
            )
        return numbers.uniform(distribution.low, distribution.high)

    for at, value in enumerate(values):
        params = {name: one(distribution) for name, distribution in space.items()}
        add(study, value, params=params, space=space, start=20.0 * at, **more)


@kind("tiny variance")
def _(study):
    fill(study, [1.0 + at * 1e-17 + (at % 2) * 1e-9 for at in range(20)])


@kind("smallest numbers")
def _(study):
    fill(study, [5e-324 * at for at in range(20)])


@kind("largest numbers")
def _(study):
    fill(study, [(-1) ** at * 1.7e308 for at in range(20)])


@kind("one value")
def _(study):
    fill(study, [0.5] * 20)


@kind("two values")
def _(study):
    fill(study, [0.5, 0.25] * 10)


@kind("infinite values")
def _(study):
    fill(study, [math.inf, -math.inf, 0.5, 0.25, 0.75, math.inf])


@kind("only infinite")
def _(study):
    fill(study, [math.inf, -math.inf, math.inf])


@kind("no trial")
def _(study):
    pass


@kind("one trial")
def _(study):
    fill(study, [1.0])


@kind("waiting alone")
def _(study):
    study.enqueue_trial({"x": 1.0})
    study.enqueue_trial({})


@kind("running alone")
def _(study):
    fill(study, [None, None], state="RUNNING")


@kind("failed alone")
def _(study):
    fill(study, [None, None], state="FAIL")


@kind("pruned alone")
def _(study):
    fill(study, [None, 1.0, None], state="PRUNED", intermediate_values={0: 1.0})


@kind("no parameters")
def _(study):
    fill(study, [1.0, 2.0, 3.0], space={})


@kind("list choices")
def _(study):
    choices = ([1, 2], [3, [4]], "[relu, tanh]", None, True, 1, 1.0)
    fill(study, [0.1 * at for at in range(20)], space={"units": CategoricalDistribution(choices), "x": FloatDistribution(0, 1)})


@kind("dict choices")
def _(study):
    choices = ({"a": [1, None]}, {"a": {"b": MARKUP}}, None, "None", float("nan"), float("inf"))
    fill(study, [0.1 * at for at in range(20)], space={"layers": CategoricalDistribution(choices)})


@kind("mixed choices")
def _(study):
    choices = (None, True, 0, 0.0, "", "0", -1.5, "x" * 5_000, 10**30)
    space = {
        "c": CategoricalDistribution(choices),
        "d": CategoricalDistribution([None]),
        "e": CategoricalDistribution([True, False]),
    }
    fill(study, [0.1 * at for at in range(30)], space=space)


@kind("names of parameters")
def _(study):
    names = list(NAMES.values())
    for count in (3, len(names)):
        space = {name: FloatDistribution(0, 1) for name in names[:count]}
        space |= {f"{name} choice": CategoricalDistribution(names) for name in names[:count]}
        fill(study, [0.1 * at for at in range(12)], space=space)


@kind("parameters are numbers")
def _(study):
    space = {
        "1": FloatDistribution(0, 1),
        "2": IntDistribution(1, 5),
        "trial": FloatDistribution(0, 1),
        "value": FloatDistribution(0, 1),
    }
    fill(study, [0.1 * at for at in range(12)], space=space)


@kind("extreme ranges")
def _(study):
    space = {
        "huge": FloatDistribution(-1e300, 1e300),
        "tiny": FloatDistribution(5e-324, 1e-320),
        "log": FloatDistribution(1e-300, 1e300, log=True),
        "int": IntDistribution(-(2**53), 2**53),
        "single": FloatDistribution(1, 1),
        "stepped": FloatDistribution(0, 1, step=0.25),
        "int log": IntDistribution(1, 10**9, log=True),
    }
    for at in range(20):
        params = {
            "huge": (-1) ** at * 10.0 ** (at * 15),
            "tiny": 5e-324 * (at + 1),
            "log": 10.0 ** (at * 30 - 300),
            "int": (-1) ** at * 2**at * 1000,
            "single": 1.0,
            "stepped": 0.25 * (at % 5),
            "int log": 3**at % 10**9 + 1,
        }
        add(study, float(at % 7), params=params, space=space)


@kind("distributions change")
def _(study):
    for at in range(20):
        if at % 2:
            space = {"x": FloatDistribution(0, 1 + at)}
        else:
            space = {"x": FloatDistribution(0, 1 + at), f"only {at}": IntDistribution(0, 3)}
        fill(study, [0.1 * at], space=space)


@kind("dynamic space")
def _(study):
    for at in range(20):
        space = {"a": IntDistribution(0, 3)} if at % 3 else {"b": CategoricalDistribution(["x", "y"])}
        fill(study, [0.1 * at], space=space if at % 5 else {})


@kind("many parameters")
def _(study):
    fill(study, [0.1 * at for at in range(12)], space={f"p{at}": FloatDistribution(0, 1) for at in range(150)})


@kind("steps")
def _(study):
    for reports in ({2**40: 1.0, 3: 0.5, 0: 0.1}, {0: math.nan, 1: math.inf, 2: -math.inf}, {}, {7: 0.0}, {2**31: 1.0}):
        for state, value in (("COMPLETE", 1.0), ("PRUNED", None), ("FAIL", None), ("RUNNING", None)):
            fill(study, [value], state=state, intermediate_values=reports)


@kind("times")
def _(study):
    fill(study, [1.0, 2.0])
    add(study, 3.0, start=100.0, seconds=-50.0)
    add(study, 3.0, start=None)
    add(study, 3.0, start=-1e9, seconds=3e9)
    add(study, None, "FAIL", start=None)
    add(study, None, "PRUNED", start=5.0, seconds=-1e9)


@kind("constraints")
def _(study):
    fill(study, [1.0, 2.0, 3.0], system_attrs={"constraints": [1.0, -1.0]})
    fill(study, [1.0, 2.0, 3.0], system_attrs={"constraints": []})
    fill(study, [1.0, 2.0], system_attrs={"constraints": [float("inf")]})


@kind("odd system attributes")
def _(study):
    for attr in (None, "text", 3, [], {"a": 1}, [None], ["x"]):
        for key in ("fixed_params", "constraints", "constraints:x", "search:owner", "grid_id", "completed_rung_0"):
            add(study, 1.0, system_attrs={key: attr})
            add(study, None, "WAITING", system_attrs={key: attr})


@kind("odd direction", directions=["minimize", "maximize", "minimize"])
def _(study):
    for at in range(12):
        fill(study, [(float(at), float(-at % 5), math.inf if at % 4 == 0 else 1.0)])
    fill(study, [None], state="FAIL")


@kind("infinite front", directions=["minimize", "maximize"])
def _(study):
    fill(study, [(math.inf, -math.inf), (math.inf, 1.0)])


@kind("flat front", directions=["minimize", "minimize"])
def _(study):
    fill(study, [(1.0, 1.0)] * 5)


@kind("metric names with markup", directions=["minimize", "maximize"])
def _(study):
    study.set_metric_names(["acc[/val]", MARKUP])
    fill(study, [(1.0, 2.0), (2.0, 3.0), (0.0, 1.0)])


@kind("metric names twice", directions=["minimize", "maximize"])
def _(study):
    study.set_metric_names(["loss", "loss"])
    fill(study, [(1.0, 2.0), (2.0, 3.0), (0.0, 1.0)])


@kind("metric names like ours", directions=["minimize", "maximize"])
def _(study):
    study.set_metric_names(["trial", "compromise"])
    fill(study, [(1.0, 2.0), (2.0, 3.0), (0.0, 1.0)])


@kind("metric names of no kind")
def _(study):
    study._storage.set_study_system_attr(study._study_id, "study:metric_names", [LONG + "\n" + "\udcff"])
    fill(study, [1.0, 2.0])


@kind("attributes like ours")
def _(study):
    _attributes(study, "")


@kind("attributes of ours")
def _(study):
    _attributes(study, "search:")


def _attributes(study, prefix):
    for at, value in enumerate(WRONG):
        fill(study, [0.1 * at], user_attrs={f"{prefix}{key}": value for key in OURS})
        fill(study, [None], state=("FAIL", "RUNNING", "PRUNED")[at % 3], user_attrs={f"{prefix}{key}": value for key in OURS})
    for at, key in enumerate(OURS):
        study.set_user_attr(f"{prefix}{key}", WRONG[at % len(WRONG)])


@kind("heavy attributes")
def _(study):
    deep: object = 1
    for _ in range(60):
        deep = {"a": [deep]}
    attrs = {"text": "x" * 1_000_000, "search:failure": "y" * 1_000_000, "search:traceback": "z" * 1_000_000}
    fill(study, [1.0, 2.0, 3.0], user_attrs={**attrs, "search:config": deep, "search:provenance": {"a": deep}})
    fill(study, [None], state="FAIL", user_attrs=attrs)


@kind("attributes with markup")
def _(study):
    table = dict(zip(NAMES.values(), NAMES.values(), strict=True))
    attrs = {
        "search:config": {**table, "none": None, "nan": math.nan},
        "search:provenance": table,
        "search:failure": MARKUP + "\n" + LONG,
    }
    fill(study, [1.0, 2.0, 3.0], user_attrs=attrs)
    for name in NAMES.values():
        fill(study, [None], state="FAIL", user_attrs={"search:failure": name, "search:traceback": name})


for _name, _text in NAMES.items():
    if _text:
        kind(f"name: {_name}", study_name=_text)(lambda study: fill(study, [1.0, 2.0, 3.0]))
