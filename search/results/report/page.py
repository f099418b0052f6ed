"""How does a report read as one page? Sections in the order in which a person asks."""

from collections.abc import Iterator
from html import escape

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.records.durations import duration_of
from search.results.ranking import Goal
from search.results.report import figures, landscape
from search.results.report.facts import TOP, Facts, Failure, gather
from search.results.report.html import cards, chart, inert, page, section, table, time_unit
from search.results.report.importances import FEW, Importances
from search.text import clock, plain, show_value

_FAILURES, _NUMBERS, _AXES = 20, 12, 10
_PARAMS, _TRACEBACK = 40, 30_000  # columns of the configs; characters


def render(study: optuna.Study) -> str:
    """Returns the report of a study, whoever made it, as an HTML page that needs no network.

    Args:
        study: The study; a snapshot where it may still go on.

    Raises:
        StudyError: No trial has ended yet.
    """
    facts = gather(study)
    return page(f"Study {facts.name}", _sections(facts))


def _sections(facts: Facts) -> Iterator[str]:
    yield _summary(facts)
    if len(facts.goals) > 1 and facts.ranked:
        text = "No trial is better than one of the front in one direction without being worse in another; choose among them."
        yield section("Pareto front", text, chart(figures.pareto_front(facts)))
    for goal in facts.goals if facts.ranked else ():
        yield _history(facts, goal)
    if facts.top:
        yield _configs(facts)
    for goal, found in zip(facts.goals, facts.importances, strict=True):
        if facts.ranked:
            yield from _space(facts, goal, found)
    if len(facts.goals) == 1 and any(trial.intermediate_values for trial in facts.trials):
        yield _intermediate(facts)
    if facts.timeline.spans:
        yield _timeline(facts)
    if facts.failures:
        yield _failures(facts)


def _summary(facts: Facts) -> str:
    states = ", ".join(f"{facts.count(state)} {state.name.lower()}" for state in TrialState if facts.count(state))
    shown = [(str(len(facts.trials)), f"trials: {states}")]
    if not facts.ranked:
        shown.insert(0, ("none", "COMPLETE trial to choose from"))
    elif len(facts.goals) == 1:
        best, goal = facts.best[0], facts.goals[0]
        shown.insert(0, (f"{goal.of(best):.4g}", f"best {plain(goal.name)}, trial {best.number}"))
        shown.insert(1, _baseline_card(facts))
    else:
        shown.insert(0, (str(len(facts.best)), "trials on the Pareto front"))
    line = facts.timeline
    shown.append((clock(line.wall_s), f"wall time; {clock(line.busy_s)} of trials, {clock(line.idle_s)} idle"))
    if facts.pruning is not None:
        saved = facts.pruning
        text = f"of the work saved by pruning: about {saved.steps_saved:.0f} steps, {_time(saved.seconds_saved)} of a worker"
        shown.append((f"{saved.share:.0%}", text))
    return section("In short", "", cards(shown))


def _baseline_card(facts: Facts) -> tuple[str, str]:
    if facts.baseline is None:
        return "none", "baseline: no config was enqueued"
    gain = facts.gain()
    if gain is None:
        return facts.baseline.state.name.lower(), f"baseline, trial {facts.baseline.number}: nothing to compare with"
    value = f"{facts.goals[0].of(facts.baseline):.4g}"
    if gain == 0:
        return "±0", f"the enqueued baseline, trial {facts.baseline.number}, is the best: {value}"
    return (
        f"{gain if facts.goals[0].maximize else -gain:+.4g}",
        f"against the enqueued baseline, trial {facts.baseline.number}: {value}",
    )


def _history(facts: Facts, goal: Goal) -> str:
    way = "more" if goal.maximize else "less"
    text = f"Each mark is a COMPLETE trial; {way} is better."
    if facts.baseline is not None and facts.baseline in facts.ranked:
        text += " The star is the enqueued baseline, the dotted line its value."
    return section(f"Best so far: {inert(goal.name)}", text, chart(figures.best_so_far(facts, goal)))


def _configs(facts: Facts) -> str:
    every = list(dict.fromkeys(name for trial in facts.top for name in trial.params))
    params = every[:_PARAMS]
    header = ["", "trial", *(goal.name for goal in facts.goals), "time", *params]
    rows = []
    for at, trial in enumerate(facts.top):
        row = (show_value(trial.params[name]) if name in trial.params else "" for name in params)
        rows.append([*_head(facts, trial, at), *row])
    many = len(facts.goals) > 1
    title = (
        "Configs of the Pareto front"
        if many
        else f"The best {len(facts.top)} configs"
        if len(facts.top) > 1
        else "The best config"
    )
    text = f"At most {TOP}. " if many and len(facts.best) > TOP else ""
    text += f"The first {_PARAMS} parameters of {len(every)}. " if len(every) > _PARAMS else ""
    text += "One trial's value holds luck: retrain the best with several seeds before you trust their order."
    return section(title, text, table(header, rows))


def _head(facts: Facts, trial: FrozenTrial, at: int) -> list[str]:
    star = " ★" if facts.baseline is not None and trial.number == facts.baseline.number else ""
    took = "" if (ran := duration_of(trial)) is None else clock(ran)
    return [
        "" if len(facts.goals) > 1 else str(at + 1),
        f"{trial.number}{star}",
        *(f"{g.of(trial):.6g}" for g in facts.goals),
        took,
    ]


def _time(seconds: float) -> str:
    unit, length = time_unit(seconds)
    return f"{seconds / length:.0f} {unit}" if length == 1 else f"{seconds / length:.1f} {unit}"


def _space(facts: Facts, goal: Goal, found: Importances | None) -> Iterator[str]:
    of = "" if len(facts.goals) == 1 else f": {inert(goal.name)}"
    if found is None:
        order = sorted({name for trial in facts.ranked for name in trial.params})
        why = "They need at least two COMPLETE trials with different values, and a parameter that varies."
        yield section(f"What matters{of}", f"Importances cannot be had. {why}")
    elif not found.ranking():
        order = sorted({name for trial in facts.ranked for name in trial.params})
        yield section(f"What matters{of}", escape(" ".join(found.failed)))
    else:
        order = found.ranking()
        yield section(f"What matters{of}", _meaning(found), chart(figures.importances(found)))
    if not order:
        return
    text = (
        "One line for each COMPLETE trial; the best tenth is blue, the darker the better. Where blue lines meet is what works."
    )
    if len(order) > _AXES:
        text += f" The {_AXES} parameters that matter most of {len(order)}."
    drawn = landscape.parallel_coordinates(facts, goal, order[:_AXES])
    yield section(f"Parallel coordinates{of}", text, chart(drawn))
    first = order[:2]
    text = (
        "The value against the parameter that matters most."
        if len(first) < 2
        else "The value against the two that matter most."
    )
    yield section(f"Slices{of}", f"{text} Darker marks are later trials.", chart(landscape.slices(facts, goal, first)))
    if landscape.can_contour(facts, first):
        text = "The mean value over the two; darker is better. Between trials the surface is a guess."
        yield section(f"Contour{of}", text, chart(landscape.contour(facts, goal, (first[0], first[1]))))


def _meaning(found: Importances) -> str:
    text = (
        "<b>fANOVA</b>: the share of the value's variance over the whole space that a parameter explains alone. "
        "<b>PED-ANOVA</b>: what sets the best tenth of the trials apart from all of them. "
        f"From {found.trials} COMPLETE trials{', so few that it is a hint' if found.trials < FEW else ''}; each adds up to 1."
    )
    if found.failed:
        text += f" {escape(' '.join(found.failed))}"
    left_out = [name for name in found.ped_anova if name not in found.fanova] if found.fanova else []
    if left_out:
        text += f" fANOVA leaves out what not every trial has: {inert(', '.join(left_out))}."
    return text


def _intermediate(facts: Facts) -> str:
    text = "What trials reported step by step. A cross is where the pruner gave a trial up."
    saved = facts.pruning
    if saved is not None:
        rule = (
            f"as many steps as its {inert(saved.planned_by)}"
            if saved.planned_by
            else "as many steps as the median COMPLETE trial"
        )
        text += (
            f" {saved.trials} trials were pruned. {saved.steps_run} steps were run, and about {saved.steps_saved:.0f} more "
            f"({saved.share:.0%} of all), or {_time(saved.seconds_saved)} of a worker, were saved: estimated from COMPLETE "
            f"trials, a pruned one would have run {rule}, each in the median time of a step."
        )
    return section("Intermediate values and pruning", text, chart(figures.intermediate_values(facts, facts.goals[0])))


def _timeline(facts: Facts) -> str:
    line = facts.timeline
    lanes = f"{line.lanes} {'worker' if line.named else 'lane'}{'s' if line.lanes > 1 else ''}"
    share = line.idle_s / (line.idle_s + line.busy_s) if line.busy_s else 0.0
    text = f"{lanes}; white is idle time, {clock(line.idle_s)} or {share:.0%} of what they had while a launch was at work."
    if not line.named:
        text += " No worker is on record: trials that overlap lie in different lanes."
    return section("Workers", text, chart(figures.timeline(facts)))


def _failures(facts: Facts) -> str:
    rows = []
    for failure in facts.failures[:_FAILURES]:
        numbers = ", ".join(map(str, failure.numbers[:_NUMBERS])) + (", …" if len(failure.numbers) > _NUMBERS else "")
        rows.append([str(len(failure.numbers)), failure.reason, numbers])
    tracebacks = "".join(map(_traceback, facts.failures[:_FAILURES]))
    left = len(facts.failures) - _FAILURES
    text = f"{left} more reasons are left out." if left > 0 else ""
    return section("Failures", text, table(["trials", "reason", "which"], rows) + tracebacks)


def _traceback(failure: Failure) -> str:
    if not failure.traceback:
        return ""
    summary = f"Trial {failure.numbers[0]}: {inert(failure.reason)}"
    return f"<details><summary>{summary}</summary><pre>{escape(failure.traceback[-_TRACEBACK:])}</pre></details>"
