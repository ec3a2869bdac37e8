"""Keeping the list of revoked tokens fresh without putting it on any request's path."""

from __future__ import annotations

import threading

import httpx
from loguru import logger

from canari.runtime.client import REVOCATIONS
from canari.tokens import Verifier


class RevocationPoller:
    """Asks the platform every `period` seconds which tokens are revoked; while it is away, the last list stands."""

    def __init__(self, verifier: Verifier, client: httpx.Client, period: float = 15) -> None:
        self._verifier = verifier
        self._client = client
        self._period = period
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)

    def start(self) -> None:
        """Begin asking, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _run(self) -> None:
        while True:
            self._poll()
            if self._stop.wait(self._period):
                return

    def _poll(self) -> None:
        try:
            answer = self._client.get(REVOCATIONS).raise_for_status().json()
            self._verifier.revoked = frozenset(answer["revoked"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            if not self._failing:
                logger.warning("revoked tokens cannot be read, the last list stands: {}", error)
            self._failing = True
        else:
            if self._failing:
                logger.info("revoked tokens are read again")
            self._failing = False
