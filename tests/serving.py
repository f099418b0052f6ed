"""Runs a server in a thread of the test's process, and ends both however the test does."""

import contextlib
import threading


@contextlib.contextmanager
def serving(server):
    """Serves in the block; closes the server after it."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:  # a thread whose socket is closed under it would ask for the next request for ever, and take a core
            server.shutdown()
            thread.join()
