"""A study as it is now: what is read from it twice must not differ."""

import optuna


def snapshot(study: optuna.Study) -> optuna.Study:
    """Returns a copy in memory, with all trials and the study's own user attributes."""
    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    copy.add_trials(study.get_trials(deepcopy=False))
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    if study.metric_names:
        copy._storage.set_study_system_attr(copy._study_id, "study:metric_names", study.metric_names)
    return copy
