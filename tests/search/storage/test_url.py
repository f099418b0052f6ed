import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from search.errors import StorageError
from search.storage import open as storage
from search.storage import url as urls
from search.storage.reference import split_name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////data/x/demo.db", Path("/data/x")),
        ("sqlite:///demo.db", Path()),
        ("journal:///studies/demo.log", Path("studies")),
        ("postgresql://u:p@host/x", Path()),
    ],
)
def test_the_folder_of_a_storage(url, expected):
    assert urls.folder(url) == expected


def test_one_storage_has_one_location_whoever_opens_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    files = ["sqlite:///demo.db", "sqlite:///./demo.db", f"sqlite:///{tmp_path}/demo.db", "sqlite:///link/demo.db"]
    assert {urls.location(url) for url in files} == {str(tmp_path.resolve() / "demo.db")}
    servers = ["mysql://ann:secret@host/x", "mariadb+pymysql://bob@host/x?charset=utf8mb4&password=secret"]
    assert {urls.location(url) for url in servers} == {"mysql://host/x"}
    others = ["postgresql://host/x", "mysql://host/y", "mysql://other/x", "mysql://host:3307/x", "postgresql:///x?host=/run"]
    assert len({urls.location(url) for url in [*files, *servers, *others]}) == 7


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("demo.db", "must be a URL such as sqlite:///"),
        ("sqlite:///:memory:", "the storage must be a file; got a database in memory"),
        ("sqlite://", "the storage must be a file; got a database in memory"),
        ("journal://", "the storage must be a file; got no path. Write journal:///NAME.log"),
        ("oracel://u:secret@host/x", 'must be sqlite, journal, postgresql, mysql or mariadb; got "oracel"'),
        ("postgres://u:secret@host/x", 'got "postgres"'),
        ("postgresql://u:sec@ret@host/x", "an @ in a password must be written %40"),
        ("postgresql://u:secret@host:port/x", "must be a URL such as sqlite:///"),
        ("postgresql://u:1#secret", "must be a URL such as sqlite:///"),
    ],
)
def test_urls_that_cannot_be(url, rule):
    with pytest.raises(StorageError) as caught:
        urls.parse(url)
    assert rule in str(caught.value)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://host/x", "postgresql+psycopg"),
        ("mysql://host/x", "mysql+pymysql"),
        ("mariadb://host/x", "mysql+pymysql"),
        ("mariadb+mariadbconnector://host/x", "mysql+mariadbconnector"),
        ("postgresql+psycopg2://host/x", "postgresql+psycopg2"),
        ("sqlite:///demo.db", "sqlite"),
    ],
)
def test_the_driver_is_that_of_our_extra_unless_named(url, driver):
    assert urls.with_driver(url).drivername == driver


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@host/x", "postgresql://u:***@host/x"),
        ("postgresql://u:sec%40ret@host:1/x", "postgresql://u:***@host:1/x"),
        ("postgresql://host/x?user=u&password=secret", "postgresql://host/x?password=***&user=u"),
        ("mysql://host/x?passwd=secret&ssl_key_PWD=secret", "mysql://host/x?passwd=***&ssl_key_PWD=***"),
        ("postgresql://host/x?sslpassword=secret&password=s1&password=s2", "postgresql://host/x?password=***&sslpassword=***"),
        (
            "postgresql://u@h/x?options=-c a=secret&passfile=/s&service=s",
            "postgresql://u@h/x?options=***&passfile=***&service=***",
        ),
        ("postgresql:///x?host=/run&port=1&dbname=d", "postgresql:///x?dbname=d&host=%2Frun&port=1"),
        ("sqlite:///demo.db", "sqlite:///demo.db"),
    ],
)
def test_passwords_are_hidden(url, shown):
    assert urls.hide_password(url) == shown


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        ("postgresql://u@h/x", False),
        ("postgresql://u:p@h/x", True),
        ("postgresql://u@h/x?options=-c a=b", True),
        ("mysql://h/x?read_default_file=~/.my.cnf&user=u", False),
        ("postgresql://h/x?sslpassword=p", True),
    ],
)
def test_which_urls_hold_a_secret(url, holds):
    assert urls.holds_secret(url) is holds


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("sqlite:///a?b.db", "sqlite:///a: a file has no options; got a question mark. Write %3F for one in a path"),
        ("sqlite:///a?mode=secret", "sqlite:///a?mode=***: a file has no options"),
        ("journal:///a?b=c", "a file has no options"),
        ("sqlite:///file:a.db", "the storage must be a file; got an address"),
        ("sqlite://u:secret@h/a.db", "sqlite://u:***@h/a.db: a file has no host; got one. Write three slashes: sqlite:///a.db"),
        ("sqlite:///a\nb.db", "storage: must have no line breaks"),
        ("sqlite:///a%0Ab.db", "storage: must have no line breaks and no control characters; got 'a\\nb.db'"),
        ("sqlite:///a\0b.db", "storage: must have no line breaks"),
    ],
)
def test_files_that_cannot_be(url, rule):
    with pytest.raises(StorageError) as caught:
        urls.parse(url)
    assert rule in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a#b", "a%3Fb", "ü x", "a;b", "100%", "a'b", "a&b=c"])
def test_names_of_files_that_a_url_could_misread(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{name}.db"
    storage.close(storage.create_study(url, "demo", ["maximize"], []))
    assert (tmp_path / f"{unquote(name)}.db").is_file()
    assert split_name(f"{url}#demo") == (url, "demo")
    study = storage.open_study(*split_name(f"{url}#demo"))
    assert study.study_name == "demo"
    storage.close(study)


@pytest.mark.parametrize(
    "url", ["mysql://u:se%2Fcret@h/x", "mysql://h/x?password=se%2Fcret", "mysql://h/x?passwd=se/cret&passwd=b"]
)
@pytest.mark.parametrize("said", ["no 'se/cret' here", "no 'se%2Fcret' here"])
def test_a_driver_that_repeats_the_password_is_silenced(url, said):
    assert urls.hide_secrets(said, url) == "no '***' here"


HARM = [
    ("mysql://h/x?local_infile=1", "the option local_infile. Remove it."),
    ("mysql://h/x?local_infile=0", "the option local_infile"),
    ("mysql://h/x?charset=utf8mb4&LOCAL%5FINFILE=1", "the option LOCAL_INFILE"),
    ("mariadb+pymysql://h/x?local_infile=true", "the option local_infile"),
    ("mysql+mysqldb://h/x?local-infile=1", "the option local-infile"),
    ("mysql+mysqlconnector://h/x?allow_local_infile=1", "the option allow_local_infile"),
    ("mysql+mysqlconnector://h/x?allow_local_infile_in_path=/", "the option allow_local_infile_in_path"),
    ("mysql+mysqlconnector://h/x?webauthn_callback=evil.run", "the option webauthn_callback"),
    ("mysql+mysqlconnector://h/x?openid_token_file=/var/run/token", "the option openid_token_file"),
    ("mysql+mysqlconnector://h/x?option_files=my.cnf", "the option option_files with another driver than PyMySQL"),
    ("mariadb+mariadbconnector://h/x?plugin_dir=.", "the option plugin_dir"),
    ("mariadb+mariadbconnector://h/x?default_file=my.cnf", "the option default_file with another driver"),
    (
        "mysql+mysqldb://h/x?read_default_file=my.cnf",
        "the option read_default_file with another driver than PyMySQL. Write mysql+pymysql, or remove it.",
    ),
    ("mysql+mysqldb://h/x?read_default_group=mysql", "the option read_default_group with another driver"),
    ("mysql+pyodbc://h/x?driver=/tmp/evil.so", "pyodbc, which loads any library. Name another driver."),
    ("mysql+pyodbc://dsn", "pyodbc, which loads any library"),
    ("mysql://h/x?init_command=DROP TABLE trials", "the option init_command"),
    ("postgresql://h/x?sslmode=require&sslcert=c.pem&sslkey=./evil.so:key", "an sslkey with a colon, an engine of OpenSSL."),
    ("postgresql+psycopg2://h/x?sslkey=a&sslkey=./evil.so:key", "an sslkey with a colon"),
    ("postgresql://h/x?sslkeylogfile=~/.bashrc", "the option sslkeylogfile"),
    ("postgresql://h/x?servicefile=evil.conf&service=s", "the option servicefile"),
    ("postgresql://h/x?conninfo=sslkey=evil.so:key", "the option conninfo"),
    ("postgresql+psycopg2://h/x?dsn=sslkey=evil.so:key", "the option dsn"),
]


@pytest.mark.parametrize(("url", "got"), HARM)
def test_a_url_has_the_driver_run_nothing_and_hand_out_no_file(url, got):
    with pytest.raises(StorageError) as caught:
        urls.parse(url)
    assert f": a URL must run nothing here and hand out no file; got {got}" in str(caught.value)
    assert not re.search("evil|DROP", str(caught.value).partition("; got")[0])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/x?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslcert=c.pem&sslkey=k.pem&connect_timeout=5",
        "postgresql://h/x?application_name=search&options=-c search_path=x&target_session_attrs=read-write",
        "postgresql:///x?service=lab&passfile=~/.pgpass&host=/run/postgresql",
        "mysql://h/x?read_default_file=~/.my.cnf&read_default_group=client&connect_timeout=5&charset=utf8mb4",
        "mysql://h/x?ssl_ca=ca.pem&ssl_cert=c.pem&ssl_key=k.pem&ssl_verify_cert=true&unix_socket=/run/mysqld.sock",
        "mysql+mysqldb://h/x?ssl_mode=REQUIRED&auth_plugin=caching_sha2_password",
    ],
)
def test_how_to_connect_is_for_the_url_to_say(url):
    assert urls.with_driver(url).query


def test_the_urls_of_the_docs_are_urls():
    page = (Path(__file__).parents[3] / "docs" / "storages.md").read_text(encoding="utf-8")
    found = re.findall(r"`((?:sqlite|journal|postgresql|mysql)://[^` .]+(?:\.db|\.log|\.cnf)?)`", page)
    assert len(found) >= 6
    for url in found:
        urls.parse(url)
