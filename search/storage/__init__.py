"""Where a study is kept: SQLite, a journal file or a server, and what is written into it."""
