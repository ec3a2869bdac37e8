"""The tests; this is read before any of Canari."""

import os

# A worker of pytest-xdist is given its controller's width, which Rich would take once and for all.
os.environ.pop("COLUMNS", None)
