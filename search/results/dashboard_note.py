"""What optuna-dashboard gets to say of a study: a note, and two charts that it does not have of its own.

Written when the dashboard is opened rather than by the launch: importing it takes a second.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
import optuna_dashboard
from optuna.trial import FrozenTrial, TrialState

from search.driver.compatibility import describe
from search.records.attributes import provenance_of
from search.results.ranking import Metric, find_baseline, metrics_of
from search.results.report.facts import gather
from search.results.report.figures import best_so_far, timeline
from search.storage.open import snapshot
from search.study_file.load import StudySpec
from search.text import format_params

MARK = "*Written by `search dashboard`. Delete this line, and the note is left as it is.*"

_HOVER_TRIALS = 300
"""With more trials, the charts say nothing under the pointer: they are kept in the storage, row by row of 2 kB."""


def save_note(study: optuna.Study, spec: StudySpec) -> None:
    """Writes the study's note, unless a person has made it theirs."""
    before = optuna_dashboard.get_note(study)
    note = "\n".join(_lines(study, spec)) + f"\n\n{MARK}\n"
    if note != before and (not before or MARK in before):
        optuna_dashboard.save_note(study, note)


def save_charts(study: optuna.Study) -> None:
    """Writes the charts: best so far with the baseline, and what the workers did. Nothing before a trial has ended."""
    if not any(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)):
        return
    facts = gather(snapshot(study), importances=False)
    charts = {"Workers": timeline(facts)}
    if len(facts.metrics) == 1 and facts.ranked:
        charts["Best so far and baseline"] = best_so_far(facts, facts.metrics[0])
    for title, figure in charts.items():
        if len(facts.trials) > _HOVER_TRIALS:
            figure.update_traces(text=None, hovertemplate=None)
        figure.update_layout(title=f"{title}, when the dashboard was opened", margin_t=90)
        optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=title.lower().replace(" ", "-"))


def _lines(study: optuna.Study, spec: StudySpec) -> Iterator[str]:
    file = describe(spec)
    metrics = metrics_of(study)
    yield f"## {study.study_name}\n"
    yield f"{'; '.join(map(_metric, metrics))}, of `{spec.target}`. Budget {spec.policy.trials} trials, seed {spec.seed}."
    yield f"Sampler {_choice(file['sampler'])}; pruner {_choice(file['pruner'])}.\n"
    yield "| parameter | values |\n|---|---|"
    yield from (f"| {name} | {_cell(_values(table))} |" for name, table in file["space"].items())
    yield ""
    yield _baseline(spec, find_baseline(study), metrics)
    if recorded := _recorded(study):
        yield "\n### Data and versions\n\n| | |\n|---|---|"
        yield from (f"| {key} | `{_cell(value)}` |" for key, value in recorded.items())
    if spec.settings:
        yield "\n### Settings of the objective\n\n| | |\n|---|---|"
        yield from (f"| {key} | `{_cell(value)}` |" for key, value in file["settings"].items())
    yield f"\n### What next\n\n```sh\nsearch report {spec.path.name}\nsearch export {spec.path.name} -o best.toml\n```"


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|")


def _metric(metric: Metric) -> str:
    return f"{'Maximizes' if metric.maximize else 'Minimizes'} **{metric.name}**"


def _choice(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "name")
    return f"{table['name']} ({options})" if options else str(table["name"])


def _values(table: Mapping[str, Any]) -> str:
    if table["type"] == "categorical":
        return ", ".join(map(str, table["choices"]))
    rest = ["log" if key == "log" else f"{key} {value}" for key, value in table.items() if key not in ("type", "low", "high")]
    return ", ".join([f"{table['low']:g} to {table['high']:g}", *rest])


def _baseline(spec: StudySpec, trial: FrozenTrial | None, metrics: Sequence[Metric]) -> str:
    if not spec.enqueue:
        return "No baseline: no config is enqueued."
    result = ""
    if trial is not None and trial.state is TrialState.COMPLETE:
        result = f" Trial {trial.number}: {', '.join(f'{metric.name} {metric.of(trial):.6g}' for metric in metrics)}."
    elif trial is not None:
        result = f" Trial {trial.number}: {trial.state.name.lower()}."
    return f"**Baseline**, enqueued first: {format_params(spec.enqueue[0])}.{result}"


def _recorded(study: optuna.Study) -> Mapping[str, Any]:
    """What the latest trial has on record of its data and the like."""
    tables = (provenance_of(trial) for trial in reversed(study.get_trials(deepcopy=False)))
    return next((table for table in tables if table), {})
