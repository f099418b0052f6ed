"""What is said about a storage never holds its password; test_every_storage.py looks through what a launch leaves behind."""

import re

import pytest
import sqlalchemy

from search.errors import SearchError
from search.storage import open as storage
from tests.search.servers import SERVERS


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(request.param)


def in_query(url):
    """The URL with user and password behind the question mark."""
    parsed = sqlalchemy.make_url(url)
    moved = sqlalchemy.URL.create(parsed.drivername, host=parsed.host, port=parsed.port, database=parsed.database)
    return moved.update_query_dict({"user": parsed.username, "password": parsed.password}).render_as_string(hide_password=False)


@pytest.mark.parametrize("place", [str, in_query])
@pytest.mark.parametrize(
    ("pattern", "wrong", "remedy"),
    [
        (r"127\.0\.0\.1:\d+", "127.0.0.1:1", "Start the server or correct host and port"),
        ("tester", "nobody", "Correct user and password"),
        ("test_[0-9a-f]+", "test_none", "Create the database"),
    ],
)
def test_a_refused_connection(server, place, pattern, wrong, remedy, assert_no_password):
    url = re.sub(pattern, wrong, place(server.new_database()))
    with pytest.raises(SearchError, match=remedy) as caught:
        storage.create_study(url, "demo", ["maximize"], [])
    assert "\n" not in str(caught.value)
    assert_no_password(str(caught.value))


@pytest.mark.slow
def test_what_commands_print(postgresql, search_process, write, assert_no_password):
    url = in_query(postgresql.new_database())
    path = write(study={"trials": "2"})
    empty = search_process("status", path, "--storage", url, code=1)
    assert "holds no study" in empty.stderr
    launched = search_process("launch", path, "--storage", url)
    assert "--storage" in launched.stdout
    exported = search_process("export", path, "--storage", url)
    assert "storage = " in exported.stdout
    refused = search_process("export", path, "--storage", url, "--trial", "7", code=1)
    assert_no_password(*(text for done in (empty, launched, exported, refused) for text in (done.stdout, done.stderr)))


def test_a_password_that_is_not_in_the_url(server, password, folder, monkeypatch):
    url = server.new_database()
    parsed = sqlalchemy.make_url(url)
    if server.scheme == "postgresql":
        monkeypatch.setenv("PGPASSWORD", password)
        bare = parsed.set(password=None)
    else:
        (folder / "my.cnf").write_text(f"[client]\nuser = {parsed.username}\npassword = {password}\n")
        bare = sqlalchemy.make_url(f"mysql://{parsed.host}:{parsed.port}/{parsed.database}?read_default_file={folder}/my.cnf")
    study = storage.create_study(bare.render_as_string(hide_password=False), "demo", ["maximize"], [])
    storage.close(study)
    found = storage.open_study(url, "demo")
    assert found.study_name == "demo"
    storage.close(found)
