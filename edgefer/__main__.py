"""`python -m edgefer` is the `edgefer` command."""

from edgefer.cli.main import main

main()
