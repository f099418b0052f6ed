"""`python -m tumorcls`: the same as the command `tumorcls`."""

from tumorcls.cli import main

main()
