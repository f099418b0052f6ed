"""Where workers run: local processes, or a thread of this process. A cluster engine needs the same five calls."""

from search.executors.base import Executor

__all__ = ["Executor"]
