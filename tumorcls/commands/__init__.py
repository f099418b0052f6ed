"""The commands of `tumorcls`, one module each, imported only when they run."""
