"""`python -m ecgtune`: the command line."""

from ecgtune.cli.main import main

main()
