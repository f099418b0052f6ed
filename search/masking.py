"""What of a text must not be shown: of a URL, all but its kind, user, host, port and path."""

import re

MASK = "***"

SHOWN_OPTIONS = frozenset({"user", "host", "hostaddr", "port", "dbname", "database"})
"""Options of a URL that say what its other parts may say too."""

_OPTION = re.compile(r"([^=&]*)=([^&]*)")
_PORT = re.compile(r"[^:]*:\d*(?![^/\s?])")


def mask_urls(text: str) -> str:
    """Returns a text, such as a value of a study file under a misspelt key, with passwords and options of its URLs masked.

    Where a URL ends cannot be told, as a password and an option may hold blanks; rather too much is masked.
    """
    shown, mark, behind = text.partition("://")
    while mark:
        part, mark, behind = behind.partition("://")
        shown += "://"
        if ":" in part and "@" not in part and "@" in behind and not _PORT.match(part):  # a password with :// in it
            return f"{shown}{part.partition(':')[0]}:{MASK}"
        masked = _mask(part)
        if masked != part and "?" in part:  # an option with :// in it
            return f"{shown}{masked}"
        shown += masked
    return shown


def mask_options(query: str) -> str:
    """Returns the part of a URL behind its question mark with the values masked; what is no option is masked whole."""
    if "=" not in query:
        return MASK if query else ""
    return _OPTION.sub(lambda match: match[0] if match[1] in SHOWN_OPTIONS else f"{match[1]}={MASK}", query)


def _mask(part: str) -> str:
    """Masks what stands between one ``://`` and the next."""
    authority, at, rest = part.rpartition("@")
    user, colon, password = authority.partition(":")
    if not colon:
        authority, at, rest = "", "", part
    elif "@" in password and "?" in password:  # the last @ may be a password's or an option's
        return f"{user}:{MASK}"
    path, mark, query = rest.partition("?")
    return f"{f'{user}:{MASK}' if authority else ''}{at}{path}{mark}{mask_options(query)}"
