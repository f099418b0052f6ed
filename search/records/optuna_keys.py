"""Optuna's names of what it keeps with a trial, for whoever reads records without Optuna, as a worker that only waits."""

CONSTRAINTS = "constraints"
"""Trial system attribute, a list: its constraints, as Optuna kept them before 5. Since then it begins the name of each."""

FIXED_PARAMS = "fixed_params"
"""Trial system attribute, a table: the parameters that whoever enqueued it has given it."""

FAILED_TRIAL = "failed_trial"
"""Trial system attribute: the number of the first trial that this one takes up again, as a callback of Optuna's has it."""
