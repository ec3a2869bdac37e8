"""One training of a model at a time, whoever trains: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from canari.settings import Layout


@contextmanager
def training_alone(layout: Layout, model: str) -> Iterator[bool]:
    """Whether no training of a model runs, nor begins meanwhile."""
    layout.training.mkdir(parents=True, exist_ok=True)
    with (layout.training / f"{model}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
