"""What is written of a trial at one time: a statement for each table in one transaction, not a transaction for each change."""

import copy
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial

from search.optuna_internals import models


@dataclass
class Changes:
    """What is to be written of a trial, named as in Optuna's; JSON can hold each attribute.

    A parameter is its value in Optuna's internal representation, and what that was drawn from.
    """

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)

    def of(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns a trial as it is once all of it is written."""
        changed = copy.copy(trial)
        distributions = {name: distribution for name, (_, distribution) in self.params.items()}
        params = {name: distribution.to_external_repr(value) for name, (value, distribution) in self.params.items()}
        changed.params, changed.distributions = {**trial.params, **params}, {**trial.distributions, **distributions}
        changed.intermediate_values = {**trial.intermediate_values, **self.intermediate_values}
        changed.user_attrs = {**trial.user_attrs, **self.user_attrs}
        changed.system_attrs = {**trial.system_attrs, **self.system_attrs}
        return changed

    def write(self, connection: sqlalchemy.Connection, trial_id: int) -> None:
        """Writes all of it in an open transaction, in place of what the trial, not ended yet, has under the same names."""
        to_stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
        params = [
            {"param_name": name, "param_value": value, "distribution_json": distribution_to_json(distribution)}
            for name, (value, distribution) in self.params.items()
        ]
        reports = [
            dict(zip(("step", "intermediate_value", "intermediate_value_type"), (step, *to_stored(value)), strict=True))
            for step, value in self.intermediate_values.items()
        ]
        for model, key, rows in (
            (models.TrialParamModel, "param_name", params),
            (models.TrialIntermediateValueModel, "step", reports),
            (models.TrialUserAttributeModel, "key", _attr_rows(self.user_attrs)),
            (models.TrialSystemAttributeModel, "key", _attr_rows(self.system_attrs)),
        ):
            if rows:
                upsert = _upsert(connection.dialect.name, model.__table__, ("trial_id", key), tuple(rows[0]))
                connection.execute(upsert, [{"trial_id": trial_id, **row} for row in rows])


def _attr_rows(attrs: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


def _upsert(dialect: str, table: sqlalchemy.Table, unique: Sequence[str], columns: Sequence[str]) -> sqlalchemy.Insert:
    """Returns a statement that inserts a row, or changes the one that has the same values in the `unique` columns."""
    changed = [name for name in columns if name not in unique]
    insert: Any = importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert(table)  # all of them take a while to import
    if dialect == "mysql":
        made: sqlalchemy.Insert = insert.on_duplicate_key_update({name: insert.inserted[name] for name in changed})
    else:
        made = insert.on_conflict_do_update(index_elements=list(unique), set_={name: insert.excluded[name] for name in changed})
    return made
