"""Where an attribute of a trial is kept: in sight of a dashboard if it is short, beside that if it is long."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.records.attributes import FAILURE_KEY, LONGEST_SHOWN, OBJECTIVE_KEYS, OWNER_KEY, PREFIX, TRACEBACK_KEY

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_LONGEST = 30_000  # characters of a reason or a traceback
_LONGEST_JSON = 60_000  # bytes; MySQL keeps 64 kB of an attribute


def split(attrs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the attributes of a trial that are to be user attributes, and those that are to be system attributes.

    What an objective calls its own stays a user attribute, however long. A long reason is shown without its end.
    """
    user: dict[str, Any] = {}
    system: dict[str, Any] = {}
    for key, value in attrs.items():
        is_long = len(json.dumps(value, ensure_ascii=False)) > LONGEST_SHOWN
        apart = key == OWNER_KEY or (key.startswith(PREFIX) and is_long)
        (system if apart else user)[key] = value
        if apart and key == FAILURE_KEY:
            user[key] = f"{value[: LONGEST_SHOWN // 2]}…"
    return user, system


def save(storage: "BaseStorage", trial_id: int, key: str, value: Any) -> None:
    """Keeps an attribute with a trial, where `split` has it.

    Raises:
        UpdateFinishedTrialError: The trial has ended.
    """
    user, system = split({key: value})
    for name, content in system.items():
        storage.set_trial_system_attr(trial_id, name, content)
    for name, content in user.items():
        storage.set_trial_user_attr(trial_id, name, content)
        if name in OBJECTIVE_KEYS and name in storage.get_trial_system_attrs(trial_id):  # a longer one, said before
            storage.set_trial_system_attr(trial_id, name, content)


def save_failure(storage: "BaseStorage", trial_id: int, reason: str, traceback: str = "") -> None:
    """Keeps the attributes of `failure_attrs` with a trial; raises as `save` does."""
    for key, text in failure_attrs(reason, traceback).items():
        save(storage, trial_id, key, text)


def failure_attrs(reason: str, traceback: str = "") -> dict[str, str]:
    """Returns why a trial ended, and where if anybody knows, as attributes that every storage can hold.

    A very long reason is without its end, and a very long traceback without its beginning.
    """
    attrs = {FAILURE_KEY: _beginning(reason)}
    return attrs | {TRACEBACK_KEY: _beginning(traceback[::-1])[::-1]} if traceback else attrs


def _beginning(text: str) -> str:
    """Returns a text, or as much of it as is kept."""
    text = text[:_LONGEST]
    while len(json.dumps(text)) > _LONGEST_JSON:
        text = text[: len(text) * 3 // 4]
    return text
