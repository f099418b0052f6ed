"""What a study's values are called."""

import optuna


def value_names(study: optuna.Study) -> list[str]:
    """Returns the names of the values; ``value`` where the study gives none, or two the same."""
    count, named = len(study.directions), study.metric_names
    if isinstance(named, list) and len(named) == count == len(set(map(str, named))):
        return [str(name) for name in named]
    return ["value"] if count == 1 else [f"value_{index}" for index in range(count)]
