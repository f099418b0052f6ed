"""The commands of `search`, one module each, imported only when they run."""
