"""``python -m search``: the same as the console command ``search``."""

from search.cli import main

if __name__ == "__main__":  # a spawned worker imports this module again under another name
    main()
