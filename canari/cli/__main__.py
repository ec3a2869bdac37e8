"""`python -m canari.cli` is `canari`."""

from canari.cli import main

main()
