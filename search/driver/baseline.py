"""Enqueued configs made whole: what an entry leaves open is what the objective would take without a search, never a draw."""

from collections.abc import Mapping, Sequence
from typing import Any

from search.study_file.conditions import is_active
from search.study_file.distributions import as_drawn, check_value
from search.study_file.load import StudySpec, study_file_error
from search.text import show


def complete(
    entries: Sequence[Mapping[str, Any]], spec: StudySpec, defaults: Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns entries of the queue with what they leave open, and a line for each that does.

    Args:
        entries: Those that are still to be tried.
        spec: The study's file.
        defaults: What the objective takes for a parameter that a trial does not have; None where it does not say.

    Raises:
        StudyFileError: The space does not hold what the objective would take; a line for each such parameter.
    """
    configs, notes, problems = [], [], []
    for entry in entries:
        where = f"enqueue[{spec.enqueue.index(entry)}]" if entry in spec.enqueue else "enqueue"
        config: dict[str, Any] = {}
        taken, drawn = [], []
        for name, distribution in spec.space.items():
            if name in entry:
                config[name] = entry[name]
            elif name in spec.drawn and is_active(name, config, spec.conditions):
                if defaults is None or name not in defaults:
                    drawn.append(name)
                    continue
                value, source = defaults[name], "[objective]" if name in spec.settings else "the default"
                if problem := check_value(name, value, spec.space):
                    problems.append(f"{where}: must name {name}, since {source}, {show(value)}, {problem[0]}. Add it.")
                    continue
                config[name] = as_drawn(value, distribution)
                taken.append(f"{name} = {show(config[name])} ({source})")
        configs.append(config)
        if taken:
            notes.append(f"{where} leaves open, and takes: {', '.join(taken)}")
        if drawn:
            notes.append(f"{where} leaves open {', '.join(drawn)}: the sampler draws, since the objective names no default")
    if problems:
        raise study_file_error(spec.path, problems)
    return configs, notes
