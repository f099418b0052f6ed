import pytest

from search.errors import StudyFileError
from search.study_file.load import load
from search.text import mask_urls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:secret@host/x", "postgresql://u:***@host/x"),
        ("postgresql://u:se@cr/et@host/x", "postgresql://u:***@host/x"),
        ("at mysql://u:s3@a/x and mysql://u:s3@b/y", "at mysql://u:***@a/x and mysql://u:***@b/y"),
        ("mysql://host/x?user=u&PassWord=secret&a=b", "mysql://host/x?user=u&PassWord=***&a=***"),
        ("postgresql://u:p w@host/x?options=-c a=secret b", "postgresql://u:***@host/x?options=***"),
        ("postgresql://u:x?y@host/x", "postgresql://u:***@host/x"),
        ("postgresql://u:p@host/x?options=-c a=secret@b:c", "postgresql://u:***"),
        ("postgresql://u:p://q@host/x", "postgresql://u:***"),
        ("postgresql://host/x?options=http://secret", "postgresql://host/x?options=***"),
        ("sqlite:///demo.db", "sqlite:///demo.db"),
        ("https://host:80/a?b=c", "https://host:80/a?b=***"),
        ("https://host:80/a and mysql://u:s3@b/y", "https://host:80/a and mysql://u:***@b/y"),
        ("objectives:parabola", "objectives:parabola"),
    ],
)
def test_passwords_of_urls(text, shown):
    assert mask_urls(text) == shown


@pytest.mark.parametrize(
    "study",
    [{"storge": '"mysql://u:secret@h/x"'}, {"storage": '["mysql://h/x?password=secret"]'}, {"seed": '"mysql://u:secret@h/x"'}],
)
def test_an_error_of_the_study_file_shows_none(write, study):
    with pytest.raises(StudyFileError) as caught:
        load(write(study=study))
    assert "mysql://" in str(caught.value)
    assert "secret" not in str(caught.value)
