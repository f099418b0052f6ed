"""How often a trial reports, as the objective says and the study keeps it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from search.records.attributes import PREFIX

if TYPE_CHECKING:
    import optuna

REPORTS_KEY = f"{PREFIX}reports"
"""Study user attribute, a table: by ``run`` and ``epoch``, the settings and parameters that say how often a trial reports."""


def reports_of(study: "optuna.Study") -> Mapping[str, list[str]]:
    """Returns which settings and parameters say how often a trial reports; empty where that is not known."""
    table = study.user_attrs.get(REPORTS_KEY)
    if not isinstance(table, Mapping):
        return {}
    return {each: names for each, names in table.items() if isinstance(names, list) and all(isinstance(n, str) for n in names)}


def save_reports(study: "optuna.Study", reports: Mapping[str, Sequence[str]]) -> Mapping[str, list[str]]:
    """Keeps what an objective says of its reports, and returns it."""
    table = {each: list(names) for each, names in reports.items()}
    if table and reports_of(study) != table:
        study.set_user_attr(REPORTS_KEY, table)
    return table
