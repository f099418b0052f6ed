"""Optuna's private names of what it keeps with a trial: a worker that only waits reads records without Optuna."""

CONSTRAINTS = "constraints"
"""Trial system attribute, a list: its constraints, as Optuna kept them before 5. Since then it begins the name of each."""
