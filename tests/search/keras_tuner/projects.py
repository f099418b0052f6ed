"""Pieces of a KerasTuner project, as KerasTuner writes them."""

from datetime import datetime

START = datetime(2026, 1, 2, 3, 4, 5)


def parameter(kind, name, conditions=(), **config):
    conditions = [{"class_name": "Parent", "config": {"name": name, "values": values}} for name, values in conditions]
    return {"class_name": kind, "config": {"name": name, "default": None, "conditions": conditions, **config}}


X = parameter("Float", "x", min_value=-1.0, max_value=1.0, step=None, sampling="linear")


def metric(direction, *values):
    return {"direction": direction, "observations": [{"value": [value], "step": step} for step, value in enumerate(values)]}


def trial(values, score=None, metrics=None, status="COMPLETED", best_step=0, message=None):
    """One trial.json without what `write_project` adds; `metrics` is the objective alone by default."""
    metrics = {"val_loss": metric("min", score)} if metrics is None and score is not None else metrics or {}
    return {
        "values": values,
        "metrics": {"metrics": metrics},
        "score": score,
        "best_step": best_step,
        "status": status,
        "message": message,
    }
