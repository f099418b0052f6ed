"""What the URL of a database may not say, as the study file that it stands in may be a stranger's.

A database's driver does as the URL tells it, and some options have it run something on this machine, write a file, or hand any
file to the server, to whoever only asks for a study's status. Others name a file that is needed to log in, and stay.
"""

import re

import sqlalchemy

from search.text import plain

_HARMFUL = re.compile(
    r".*infile.*"  # whatever file a server of MySQL asks for
    r"|init_command"  # a statement, before the connection is made one for reading alone
    r"|plugin_dir|.*_callback|servicefile"  # code, or what names some
    r"|openid_token_file|sslkeylogfile"  # sends a file, writes one
    r"|conninfo|dsn"  # any of these options
)
_OPTION_FILE = re.compile(r"(read_default|default|option)_(files?|groups?)")
_READS_LOGIN_ALONE = ("pymysql", "cymysql")
"""Drivers of MySQL that take little more than user and password from an option file; others take all of the above."""


def harm_in(url: sqlalchemy.URL) -> tuple[str, str] | None:
    """Returns what of a URL runs something on this machine or hands out its files, and what to do about it, if there is any."""
    driver = url.drivername.partition("+")[2]
    if driver == "pyodbc":
        return "pyodbc, which loads any library", "Name another driver."
    for name, values in url.normalized_query.items():
        option = name.lower().replace("-", "_")
        if _HARMFUL.fullmatch(option):
            return f"the option {plain(name)}", "Remove it."
        if _OPTION_FILE.fullmatch(option) and driver not in _READS_LOGIN_ALONE:
            return f"the option {plain(name)} with another driver than PyMySQL", "Write mysql+pymysql, or remove it."
        if option == "sslkey" and any(":" in value for value in values):  # libpq loads the library before the colon
            return "an sslkey with a colon, an engine of OpenSSL", "Name a file without a colon."
    return None
