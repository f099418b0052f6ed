import io
import json
import re
import time
from html import unescape
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console

from search.records.attributes import CONFIG_KEY, FAILURE_KEY, FILE_KEY, NOTICE, OWNER_KEY, PROVENANCE_KEY, WARM_KEY
from search.records.rungs import RUNGS_KEY
from search.records.states import DRIVER_DIED, INTERRUPTED
from search.results.report.facts import gather
from search.results.report.figures import best_so_far, importances
from search.results.report.html import inert
from search.results.report.importances import Importances
from search.results.report.page import render
from search.results.report.pictures import pictures_of
from search.results.status import print_status
from tests.browser import problems
from tests.search.results.report.conftest import charts


def sections(html):
    return dict(re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", html, re.DOTALL))


def traces(section):
    return next(charts(section))[0]


@pytest.fixture(scope="module")
def html(varied):
    return render(varied)


def test_every_section_is_there_in_the_order_of_the_questions(html):
    assert list(sections(html)) == [
        "In short",
        "Best so far: value",
        "The best 6 configs",
        "What matters",
        "Parallel coordinates",
        "Slices",
        "Contour",
        "Intermediate values and pruning",
        "Workers",
        "Failures",
        "What was searched",
    ]


def test_it_opens_without_a_network(html):
    assert html.count("plotly.js v") == 1
    own = re.sub(r"<script>.*?</script>", "", html, count=1, flags=re.DOTALL)
    assert "<script src" not in own
    assert "<link" not in own
    assert not re.search(r"https?://", own)


def test_the_summary_and_the_table_say_what_the_storage_says(html):
    short = sections(html)["In short"]
    cards = re.findall(r"<b>(.*?)</b><span>(.*?)</span>", short)
    assert cards[:2] == [("0.67", "best value, trial 5"), ("+0.09", "against the enqueued baseline, trial 0: 0.58")]
    assert cards[2] == ("12", "trials: 1 running, 6 complete, 2 pruned, 3 fail")
    assert cards[4] == ("15%", "of the work saved by pruning: about 4 steps, 16 seconds of a worker")
    found = re.findall(r"<tr><td>(.*?)</td></tr>", sections(html)["The best 6 configs"])
    rows = [row.split("</td><td>") for row in found]
    assert rows[0] == ["1", "5", "0.67", "00:12", "0.2", "3", "b"]
    assert [row[1] for row in rows if "★" in row[1]] == ["0 ★"]


def test_states_are_called_what_status_calls_them(add, study):
    """Of FAIL, WAITING and trials of another study alike: on the card, of the baseline, in the chart and under the pointer."""
    add(study, 0.5)
    paused = {"system_attrs": {RUNGS_KEY: {"2": [0.5, 4.0]}, "fixed_params": {"rate": 0.1}}}
    add(study, state="WAITING", start=10, **paused)
    add(study, state="WAITING")
    for start, reason in ((20, INTERRUPTED), (30, DRIVER_DIED), (40, "no memory")):
        add(study, state="FAIL", start=start, user_attrs={FAILURE_KEY: reason})
    add(study, 0.4, user_attrs={WARM_KEY: {"study": "other", "trial": 0, "compared": True}})
    states = ["1 complete", "1 fail", "1 interrupted", "1 lost", "1 paused", "1 waiting", "1 of a warm start"]
    found = sections(render(study))
    cards = re.findall(r"<b>(.*?)</b><span>(.*?)</span>", found["In short"])
    assert cards[1:3] == [("paused", "baseline, trial 1: nothing to compare with"), ("7", f"trials: {', '.join(states)}")]
    print_status(study, budget=None, rows=None, console=Console(file=(out := io.StringIO()), width=160))
    assert f"({' · '.join(states)})" in out.getvalue()
    bars = {trace["name"]: trace["text"][0].partition("<br>")[0] for trace in traces(found["Workers"])}
    names = {1: "paused", 3: "interrupted", 4: "lost", 5: "fail"}
    assert bars == {"complete": "trial 0: 0.5", **{name: f"trial {number}: {name}" for number, name in names.items()}}


def test_the_curves_are_those_of_the_trials(html):
    best = {trace["name"]: trace for trace in traces(sections(html)["Best so far: value"])}
    assert best["trial"]["x"] == [0, 1, 2, 3, 4, 5]
    assert best["best so far"]["x"] == [0, 5]
    assert best["baseline"]["y"] == [pytest.approx(0.58)]
    inner = {trace["name"]: trace for trace in traces(sections(html)["Intermediate values and pruning"])}
    assert (inner["pruned here"]["x"], inner["pruned here"]["y"]) == ([0, 1], [0.1, 0.3])
    assert inner["best"]["y"][:3] == pytest.approx([0.37, 0.47, 0.57])
    bars = {trace["name"]: trace for trace in traces(sections(html)["Workers"])}
    assert (bars["pruned"]["y"], bars["pruned"]["x"]) == ([0, 1], [4000, 9000])


def test_every_chart_says_its_main_figures_to_who_does_not_see_it(html):
    said = [unescape(label) for label in re.findall(r'<div role="img" aria-label="(.*?)">', html)]
    assert len(said) == html.count('class="plotly-graph-div"')
    assert said[0] == (
        "Best value of 6 COMPLETE trials so far: 0.58 at trial 0, then 0.67 at trial 5; the baseline, trial 0, has 0.58."
    )
    assert "Shares by PED-ANOVA, the most important parameter first: " in said[1]
    assert said[2:] == [
        "6 trials; value 0.67 of the best, trial 5: rate 0.2, epochs 3, kind b.",
        "value against rate, 6 trials: the best 0.67 at 0.2, the worst 0.461 at 0.001.",
        "value against epochs, 6 trials: the best 0.67 at 3, the worst 0.461 at 4.",
        "value over rate and epochs: the best 0.67 at 0.2 and 3, the worst 0.461 at 0.001 and 4.",
        "value by step of 6 complete and 2 pruned trials. The best, trial 5: 0.37 at step 0, 0.57 at step 2.",
        "Trials of each worker: worker 0: 7 in 00:42; worker 1: 5 in 00:46.",
    ]


def test_no_state_is_a_colour_alone(html):
    bars = traces(sections(html)["Workers"])
    assert len({trace["marker"]["pattern"]["shape"] for trace in bars}) == len(bars)


def test_the_best_are_as_many_as_it_says(add, study):
    for at in range(40):
        add(study, at / 40, params={"rate": (at + 1) / 40, "epochs": 2 + at % 3, "kind": "ab"[at % 2]})
    told = sections(render(study))
    assert "what sets the best 4 trials apart from all of them" in told["What matters"]
    assert "the best 4 trials in blue" in told["Parallel coordinates"]
    assert "tenth" not in "".join(told.values())


def test_few_trials_have_no_tenth(html):
    assert "what sets the best trial apart from all of them" in sections(html)["What matters"]
    assert "the best 3 trials in blue" in sections(html)["Parallel coordinates"]


def test_it_says_what_was_searched_and_what_the_values_are_not_for(add, study):
    file = {"objective": "own:f", "directions": ["maximize"], "seed": 3, "space": {}, "enqueue": []}
    settings = {"data": ["sartaj", "<b>nickparvar</b>"], "image_size": 150, "repeats": 3}
    study.set_user_attr(FILE_KEY, {**file, "settings": settings, "sampler": {"name": "tpe", "multivariate": True}})
    add(study, 0.5, user_attrs={PROVENANCE_KEY: {"split_sha256": "abc", "repeats": 3, NOTICE: "Never for <diagnosis>."}})
    html = render(study)
    assert '<div class="notice" role="note">Never for &lt;diagnosis&gt;.</div>' in html
    short, origin = (sections(html)[name] for name in ("In short", "What was searched"))
    assert "Objective own:f; data sartaj, &lt;b&gt;nickparvar&lt;/b&gt;; trials of 2026-01-01." in short
    said = (("sampler", "tpe, multivariate True"), ("image_size", "150"), ("split_sha256", "abc"), ("repeats", "3"))
    for what, value in said:
        assert origin.count(f"<td>{what}</td><td>{value}</td>") == 1
    assert re.search(r"Written \d{4}-\d\d-\d\d by search \d", html)


PICTURES = {
    "a.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "b.svg": b"\xef\xbb\xbf<?xml version='1.0'?><svg/>",
    "c.svg": b"\n<!DOCTYPE svg PUBLIC><svg/>",
    "d.svg": b"<!-- made by hand --><svg/>",
    "e.png": b"\x89PNG\r\n\x1a\n",
    "f.jpg": b"\xff\xd8\xff\xe0",
    "g.webp": b"RIFF\n\x00\n\xffWEBP",
}


@pytest.fixture
def left_files(tmp_path):
    def write(contents):
        kinds = {
            ".svg": "image/svg+xml",
            ".png": "image/png",
            ".jpg": "image/jpeg",
            ".webp": "image/webp",
            ".txt": "text/plain",
        }
        told = {}
        for name, content in contents.items():
            place = tmp_path / name.encode().hex()
            place.symlink_to(content) if isinstance(content, Path) else place.write_bytes(content)
            meta = {"filename": name, "mimetype": kinds[Path(name).suffix], "encoding": None, "artifact_id": place.name}
            told[f"artifacts:{place.name}"] = json.dumps(meta)
        return told

    return write


def test_the_pictures_of_the_best_trial_are_on_the_page(add, study, left_files, tmp_path):
    png, svg = PICTURES["e.png"], PICTURES["a.svg"]
    add(study, 0.1, system_attrs=left_files({"of-another.png": png}))
    add(study, 0.9, system_attrs=left_files({"worst-mistakes.png": png, "confusion-matrix.svg": svg, "notes.txt": svg}))
    left = sections(render(study, tmp_path))["What the best trial left"]
    assert re.findall(r'<img alt="(.*?)" src="data:(.*?);base64,', left) == [
        ("confusion matrix", "image/svg+xml"),
        ("worst mistakes", "image/png"),
    ]
    assert "What the best trial left" not in sections(render(study))


def test_only_a_picture_of_the_kind_that_it_claims_gets_onto_the_page(add, study, left_files, tmp_path):
    """A file may have been put there by somebody else, who wants to see one of the reader's."""
    (tmp_path / "own").write_bytes(PICTURES["e.png"])
    others = {"key": b"-----BEGIN PRIVATE KEY-----", "config": b"<config/>", "late": b"x <svg/>", "empty": b""}
    for ending in (".svg", ".png", ".jpg", ".webp"):
        files = {**PICTURES, **others, "link": tmp_path / "own"}
        add(study, 0.9, system_attrs=left_files({f"{Path(name).stem}{ending}": file for name, file in files.items()}))
        shown = pictures_of(study, study.trials[-1], tmp_path)
        assert [name for name, _ in shown] == [Path(name).stem for name in PICTURES if name.endswith(ending)]


@pytest.mark.parametrize(("direction", "baseline", "outlier"), [("maximize", 0.5, 0.2), ("minimize", 1.3, 1.6)])
def test_best_so_far_leaves_an_outlier_out_but_not_the_baseline(direction, baseline, outlier, add):
    study = optuna.create_study(direction=direction)
    add(study, baseline, system_attrs={"fixed_params": {"rate": 0.1}})
    for number in range(10):
        add(study, 0.9 + number / 1000)
    add(study, outlier)
    facts = gather(study)
    low, high = best_so_far(facts, facts.metrics[0]).layout.yaxis.range
    assert low < baseline < high
    assert not low < outlier < high


def test_one_config_again_and_again(study, add):
    for value in (0.5, 0.6, 0.7):
        add(study, value)
    assert "a parameter that varies" in sections(render(study))["What matters"]


def test_reasons_are_text_and_no_markup(html):
    failures = sections(html)["Failures"]
    assert "&lt;b&gt;no memory&lt;/b&gt;" in failures
    assert "<td>8, 9</td>" in failures
    assert "File &#39;x&#39;, line 8" in failures


def test_several_directions(add, study):
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for at in range(12):
        params = {"rate": 0.01 * (at + 1), "epochs": 2 + at % 3, "kind": "ab"[at % 2]}
        add(study, (at, at % 5, at % 3), params=params, system_attrs={"fixed_params": params} if at == 0 else None)
    found = sections(render(study))
    assert len(traces(found["Pareto front"])) == 3
    assert found["Pareto front"].count('class="plotly-graph-div"') == 3
    assert {f"{what}: value_{at}" for what in ("Best so far", "What matters", "Slices", "Contour") for at in range(3)} <= set(
        found
    )
    assert "Configs of the Pareto front" in found


def test_a_study_whose_trials_all_failed(study, add):
    add(study, state="FAIL")
    assert list(sections(render(study))) == ["In short", "Workers", "Failures", "What was searched"]


def test_a_single_trial(study, add):
    add(study, 1.0, reports=[1.0])
    found = sections(render(study))
    assert "Importances cannot be had" in found["What matters"]
    assert "Contour" not in found


def test_every_parameter_has_a_bar_of_its_own_in_its_place():
    names = ["a<b & c", "p", "z" * 210 + "1", "z" * 210 + "2"]
    found = Importances({name: 0.1 * at for at, name in enumerate(names)}, {names[1]: 0.5}, 9, 1)
    figure = importances(found)
    shown = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert [shown[at].replace("<br>", "") for at in sorted(shown)] == [inert(name) for name in found.ranking()[::-1]]
    for bars, shares in zip(figure.data, (found.ped_anova, found.fanova), strict=True):
        assert {found.ranking()[::-1][at]: share for at, share in zip(bars.y, bars.x, strict=True)} == shares


@pytest.fixture(scope="module", params=[1, 3])
def long_names(add, request):
    """The page of a study of so many directions, all of whose names are 200 characters long."""
    name = "hyperparameter_" * 14
    study = optuna.create_study(study_name="s" * 200, directions=["maximize", "minimize", "minimize"][: request.param])
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names([f"{at}{name}"[:200] for at in range(request.param)])
    choices = [f"{at}{name}"[:200] for at in "ab"]
    space = {**{f"{at}{name}"[:200]: FloatDistribution(0, 1) for at in range(9)}, "choice": CategoricalDistribution(choices)}
    for at in range(30):
        params = {name: (at * 7 + place) % 10 / 10 for place, name in enumerate(space)} | {"choice": choices[at % 2]}
        values = (at / 30 if request.param == 3 else at % 2 + at / 100, (at * 11 % 30) / 30, at % 5 / 5)[: request.param]
        add(study, values, params=params, reports=[0.1, 0.2] if request.param == 1 else (), space=space, start=10.0 * at)
    return render(study)


def test_no_name_leaves_a_chart_without_room(long_names):
    shown, drawn = set(), 0
    for drawing in charts(long_names):
        drawn += 1
        shown |= set(texts([*drawing]))
    assert drawn >= 8
    assert len([text for text in shown if "hyperparameter" in text]) >= 9
    assert [text for text in shown if max(map(len, text.split("<br>"))) > 41] == []


def texts(drawn, key=""):
    """Yields what stands on a chart; what stands under the pointer does not."""
    if isinstance(drawn, dict):
        for name, inner in drawn.items():
            if name != "template" and not (name == "text" and "hovertemplate" in drawn):
                yield from texts(inner, name)
    elif isinstance(drawn, list):
        for inner in drawn:
            yield from texts(inner, key)
    elif isinstance(drawn, str) and key in ("text", "ticktext", "name", "title"):
        yield drawn


@pytest.mark.parametrize(
    ("space", "contour"),
    [
        ({"x": FloatDistribution(0, 1)}, False),
        ({"x": CategoricalDistribution(["a", "b", None])}, False),
        ({"x": CategoricalDistribution([True, False]), "y": CategoricalDistribution([1, 2.5, "c"])}, True),
        ({"x": FloatDistribution(0, 1), "y": IntDistribution(1, 1)}, False),
        ({"x<y": FloatDistribution(0, 1), "y$": IntDistribution(1, 1024, log=True), "z": FloatDistribution(1, 1)}, True),
        ({}, False),
    ],
)
def test_any_space(space, contour, study, add):
    sampler = optuna.samplers.RandomSampler(seed=0)
    source = optuna.create_study(sampler=sampler)
    for at in range(12):
        add(study, float(at), params=source.ask(space).params, space=space)
    found = sections(render(study))
    assert ("Slices" in found) == bool(space)
    assert ("Contour" in found) == contour


def test_reports_that_are_no_numbers(study, add):
    for value in range(10):
        add(study, float(value), reports=[float("nan"), float("inf"), float(value)])
    assert "Intermediate values and pruning" in sections(render(study))


def test_many_parameters_and_many_choices(study, add):
    space = {f"p{at}": CategoricalDistribution([f"choice {choice}" for choice in range(40)]) for at in range(15)}
    for at in range(30):
        add(study, float(at), params={name: f"choice {(at * 7 + k) % 40}" for k, name in enumerate(space)}, space=space)
    drawn = sections(render(study))["Parallel coordinates"]
    assert "The 10 parameters that matter most of 15." in drawn
    assert drawn.count('"choice 0"') == 10
    assert '"choice 1"' not in drawn


def test_trials_without_times_or_names(study):
    study.add_trials([optuna.trial.create_trial(value=float(at)) for at in range(3)])
    study.enqueue_trial({"x": 1.0})
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["F1 <macro>"])
    html = render(study)
    assert "Best so far: F1 &lt;macro&gt;" in sections(html)


@pytest.mark.slow
def test_two_thousand_trials_fit_into_ten_megabytes_and_thirty_seconds(add):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {**{name: FloatDistribution(0, 1) for name in "uvwxyz"}, "kind": CategoricalDistribution(["a", "b"])}
    for at in range(2000):
        trial = study.ask(space)
        for step in range(20):
            trial.report(trial.params["x"] + step, step)
        trial.set_user_attr(OWNER_KEY, {"worker": at % 8})
        trial.set_user_attr(CONFIG_KEY, {str(key): key for key in range(40)})
        study.tell(trial, trial.params["x"] + trial.params["y"] ** 2)
    before = time.process_time()
    size = len(render(study).encode())
    assert size <= 10_000_000
    assert time.process_time() - before <= 30


@pytest.mark.slow
def test_it_is_readable_in_any_window(html, tmp_path):
    assert problems(html, "report", tmp_path) == []


@pytest.mark.slow
def test_long_names_are_readable_in_any_window(long_names, tmp_path):
    assert problems(long_names, "long-names", tmp_path) == []
