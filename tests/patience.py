"""How long a test waits for what it started."""

PATIENCE_S = 800
"""After so long it hangs: longer than anything takes on a slow and loaded machine. In the quick tier pytest ends it before."""
