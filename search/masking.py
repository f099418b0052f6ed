"""What of a text must not be shown: passwords in URLs, in whichever part of them."""

import re

MASK = "***"
SECRET_KEY = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
"""Matches the name of a query parameter whose value is a secret."""

_IN_AUTHORITY = re.compile(r"(\w://[^\s:/@]*:)\S*(?=@)")
_IN_QUERY = re.compile(rf"([?&][^=&\s]*(?:{SECRET_KEY.pattern})[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def mask_urls(text: str) -> str:
    """Returns a text, such as a value of a study file under a misspelt key, with the passwords of its URLs masked."""
    return _IN_QUERY.sub(rf"\1{MASK}", _IN_AUTHORITY.sub(rf"\1{MASK}", text))
