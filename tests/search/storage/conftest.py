from tests.search.servers import study, url  # noqa: F401  fixtures
