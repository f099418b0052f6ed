"""A study as it is now: what is read from it twice must not differ."""

import optuna


def snapshot(study: optuna.Study) -> optuna.Study:
    """Returns a copy in memory, with all trials and the study's own user attributes."""
    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    for trial in study.get_trials(deepcopy=False):
        # `Study.add_trial` wants more of a trial than the storage that it comes from, such as the time of its start.
        copy._storage.create_new_trial(copy._study_id, template_trial=trial)
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    if study.metric_names:
        copy._storage.set_study_system_attr(copy._study_id, "study:metric_names", study.metric_names)
    return copy
