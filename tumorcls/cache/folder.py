"""Where everything that was computed once is kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns where decoded images, manifests and activations are kept: `$TUMORCLS_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("TUMORCLS_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("tumorcls")
