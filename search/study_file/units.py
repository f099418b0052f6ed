"""Times, sizes and parameters as people write and read them: ``"20m"``, ``"4GB"``, ``05:30``, ``dropout=0.2``."""

import re
from typing import Any

from search.study_file.limits import MAX_BYTES, MAX_SECONDS
from search.study_file.rule_errors import rule_error
from search.text import show

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def parse_duration(value: Any) -> Any:
    """Returns seconds for ``"90s"``, ``"20m"``, ``"8h"``, ``"2d"`` or a number of seconds.

    Raises:
        PydanticCustomError: It is none of these, not positive, or more than ten years.
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([smhd]?)\s*", value, re.ASCII) if isinstance(value, str) else None
    if match:
        value = float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise rule_error("must be a positive time", got=show(value), remedy='Write "90s", "20m", "8h" or a number of seconds.')
    if value > MAX_SECONDS:
        raise rule_error(f"must be at most {MAX_SECONDS / 86400:.0f} days", got=show(value), remedy="Write less, or remove it.")
    return float(value)


def parse_size(value: Any) -> Any:
    """Returns bytes for ``"800MB"``, ``"4GB"``, ``"4GiB"``.

    Raises:
        PydanticCustomError: It is none of these, not positive, or more than a petabyte.
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([MG]i?B)\s*", value, re.ASCII) if isinstance(value, str) else None
    size = round(float(match[1]) * _BYTES[match[2]]) if match else 0
    if size <= 0:
        raise rule_error("must be a positive size with its unit", got=show(value), remedy='Write "800MB", "4GB" or "4GiB".')
    if size > MAX_BYTES:
        raise rule_error(f"must be at most {MAX_BYTES // 10**9} GB", got=show(value), remedy="Write less, or remove it.")
    return size
