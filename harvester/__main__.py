"""`python -m harvester` is the `harvester` command."""

from harvester.cli.main import main

main()
