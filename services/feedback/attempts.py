"""Slowing down those who guess passwords."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_NAMES = 10_000


class Attempts:
    """Failed logins by name: after `most` within `window_seconds`, a name has to wait until the window is over."""

    def __init__(self, most: int = 5, window_seconds: float = 300, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._window = window_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_seconds(self, name: str) -> float:
        """How long `name` has to wait before it may try again; 0 if not at all."""
        with self._lock:
            count, began = self._failures.get(name, (0, 0.0))
            return max(0.0, began + self._window - self._clock()) if count >= self._most else 0.0

    def failed(self, name: str) -> None:
        """Count a failure. The names that failed longest ago are forgotten when there are too many."""
        with self._lock:
            count, began = self._failures.pop(name, (0, self._clock()))
            if self._clock() >= began + self._window:
                count, began = 0, self._clock()
            self._failures[name] = (count + 1, began)
            if len(self._failures) > _MOST_NAMES:
                self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of `name`."""
        with self._lock:
            self._failures.pop(name, None)
