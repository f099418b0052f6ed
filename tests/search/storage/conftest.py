from tests.search.servers import other, study, url  # noqa: F401  fixtures
