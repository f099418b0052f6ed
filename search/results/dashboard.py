"""Serves optuna-dashboard for a study, with the artifacts beside its storage, and a note and two charts of our own.

Note and charts are written when the dashboard is opened rather than by the launch: importing it takes a second.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard
from optuna.trial import FrozenTrial, TrialState

from search.driver.compatibility import describe
from search.driver.ownership import living_driver
from search.errors import DashboardError
from search.optuna_internals import storage_of, study_id_of
from search.records.attributes import file_of, provenance_of
from search.records.states import state_name
from search.results.dashboard_origin import SameOrigin
from search.results.ranking import Metric, find_baseline, metrics_of
from search.results.report.facts import gather
from search.results.report.figures import best_so_far, timeline, white
from search.results.report.origin import describe_choice
from search.results.status import budget_in
from search.storage.errors import storage_errors
from search.storage.folders import ArtifactStore, artifact_folder
from search.storage.open import close, snapshot
from search.storage.reference import Opened, open_reference
from search.storage.url import hide_password, storage_file
from search.study_file.load import StudySpec
from search.text import format_params

MARK = "*Written by `search dashboard`. Delete this line, and the note is left as it is.*"

_HOVER_TRIALS = 300
"""With more trials, the charts say nothing under the pointer: they are kept in the storage, row by row of 2 kB."""


def open_for(text: str, url: str | None, say: Callable[[str], None]) -> Opened:
    """Opens a study for the dashboard: for reading alone where a driver has its file, or where nobody may write to that.

    `text` and `url` are those of `open_reference`. Where notes and names cannot be edited, `say` is told why, in one line.

    Raises:
        SearchError: The file, the storage or the study is not there or not what it must be.
    """
    opened = open_reference(text, url)
    path = storage_file(opened.url)
    with storage_errors(opened.url):
        driver = living_driver(opened.study) if path is not None else None  # a server has any number of writers
    if driver is not None:
        why = f"process {driver.pid} on {driver.host} drives a study in it"
    elif path is not None and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        why = "you may not write to it"
    else:
        close(opened.study)
        return open_reference(text, url, writable=True)
    say(f"{hide_password(opened.url)} is open for reading alone, as {why}: notes and names cannot be edited here.")
    return opened


def serve(opened: Opened, host: str, port: int, ready: Callable[[str], None], names: Sequence[str] = ()) -> None:
    """Serves the dashboard until ^C, where it listens and under further `names`, such as a proxy's; port 0 takes a free one.

    All studies of the storage are shown. Once the dashboard answers, `ready` is called with the address that leads to the one
    that was opened. Where that may be written to, it gets charts and, where it has a file, a note.

    Raises:
        DashboardError: The address cannot be listened on.
        StorageError: The storage cannot be written.
    """
    study = opened.study
    artifacts = artifact_folder(opened.url)
    with storage_errors(opened.url):
        if opened.writable:
            if opened.spec is not None:
                save_note(study, opened.spec, opened.typed)
            save_charts(study)
            artifacts.mkdir(exist_ok=True)  # a trial may leave its first one while the dashboard is open
        app = optuna_dashboard.wsgi(storage_of(study), artifact_store=ArtifactStore(artifacts))
    try:
        server_class = _ServerV6 if ":" in host else _Server
        server = make_server(host, port, SameOrigin(app, host, names), server_class=server_class, handler_class=_QuietHandler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "Add --port with another one (0 takes any)" if taken else "Check --host and --port"
        raise DashboardError(f"{host}:{port}: must be free to listen on; got: {error.strerror}. {remedy}.") from None
    with server:
        ready(f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/dashboard/studies/{study_id_of(study)}")
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at a time: a page asks for many, and keeps polling."""

    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 60  # seconds that a connection may say nothing

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a line for each poll of the page would bury what matters."""


def save_note(study: optuna.Study, spec: StudySpec, typed: str) -> None:
    """Writes the study's note, unless a person has made it theirs; `typed` names the study on a command line."""
    before = optuna_dashboard.get_note(study)
    note = "\n".join(_lines(study, spec, typed)) + f"\n\n{MARK}\n"
    if note != before and (not before or MARK in before):
        optuna_dashboard.save_note(study, note)


@white()
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
        figure.update_layout(paper_bgcolor="#fff", plot_bgcolor="#fff")  # the dashboard may be dark, and is no page of ours
        figure.update_layout(title=f"{title}, when the dashboard was opened", margin_t=90)
        optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=title.lower().replace(" ", "-"))


def _lines(study: optuna.Study, spec: StudySpec, typed: str) -> Iterator[str]:
    file, kept = describe(spec), file_of(study)
    if kept is not None:  # the values were measured so, whatever the file says by now
        file |= {key: kept[key] for key in ("objective", "seed", "space", "settings")}
    metrics = metrics_of(study)
    yield f"## {study.study_name}\n"
    wanted = "; ".join(f"{'Maximizes' if metric.maximize else 'Minimizes'} **{metric.name}**" for metric in metrics)
    budget = budget_in(study, spec) or spec.policy.trials
    yield f"{wanted}, of `{file['objective']}`. Budget {budget} trials, seed {file['seed']}."
    yield f"Sampler {describe_choice(file['sampler'])}; pruner {describe_choice(file['pruner'])}.\n"
    yield "| parameter | values |\n|---|---|"
    yield from (f"| {name} | {_cell(_values(table))} |" for name, table in file["space"].items())
    yield ""
    yield _baseline(spec, find_baseline(study), metrics)
    for title, table in (("Data and versions", _recorded(study)), ("Settings of the objective", file["settings"])):
        if table:
            yield f"\n### {title}\n\n| | |\n|---|---|"
            yield from (f"| {key} | `{_cell(value)}` |" for key, value in table.items())
    yield f"\n### What next\n\n```sh\nsearch report {typed}\nsearch export {typed} -o best.toml\n```"


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|")


def _values(table: Any) -> str:
    match table:
        case {"type": "categorical", "choices": list(choices)}:
            return ", ".join(map(str, choices))
        case {"type": _, "low": int() | float() as low, "high": int() | float() as high, **others}:
            rest = ["log" if key == "log" else f"{key} {value}" for key, value in others.items()]
            return ", ".join([f"{low:g} to {high:g}", *rest])
    return str(table)  # of a record that somebody else has written


def _baseline(spec: StudySpec, trial: FrozenTrial | None, metrics: Sequence[Metric]) -> str:
    if not spec.enqueue:
        return "No baseline: no config is enqueued."
    baseline = f"**Baseline**, enqueued first: {format_params(spec.enqueue[0])}."
    if trial is None:
        return baseline
    values = ", ".join(f"{metric.name} {metric.of(trial):.6g}" for metric in metrics if trial.state is TrialState.COMPLETE)
    return f"{baseline} Trial {trial.number}: {values or state_name(trial)}."


def _recorded(study: optuna.Study) -> Mapping[str, Any]:
    """What the latest trial has on record of its data and the like."""
    tables = (provenance_of(trial) for trial in reversed(study.get_trials(deepcopy=False)))
    return next((table for table in tables if table), {})
