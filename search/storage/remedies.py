"""What to do about an error, going by what a database or the system says."""

_REMEDIES = (
    ("malformed", "Restore it from a copy, or move it away and launch again."),
    ("not a database", "Move it away, or change the storage."),
    ("locked", "Another program holds it: close that, and launch again."),
    ("readonly", "Give yourself write permission to the file and its folder, or change the storage."),
    ("unable to open", "Give yourself write permission to the file and its folder, or change the storage."),
    ("permission denied", "Give yourself write permission to the file and its folder, or change the storage."),
    ("read-only file system", "Give yourself write permission to the file and its folder, or change the storage."),
    ("full", "Free some disk space, and launch again."),
    ("no space left", "Free some disk space, and launch again."),
    ("disk quota", "Free some disk space, and launch again."),
    ("data too long", "Keep less in one attribute, or change the storage."),
    ("password", "Correct user and password in the URL."),
    ("access denied", "Correct user and password in the URL."),
    ("unknown database", "Create the database, or correct its name in the URL."),
    ("does not exist", "Create the database, or correct its name in the URL."),
    ("connect", "Start the server or correct host and port in the URL, and launch again."),
)


def remedy(said: str) -> str:
    """Returns the sentence that fits what was said."""
    for clue, text in _REMEDIES:
        if clue in said.lower():
            return text
    return "Check the storage, and launch again."
