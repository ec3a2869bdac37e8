"""One acting controller at a time, by a Lease (https://kubernetes.io/docs/concepts/architecture/leases/).

As in Kubernetes' own components: a holder that has not renewed for a while stops acting before anybody else may start,
and others measure that while by their own clock, from when they last saw the Lease change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread

from loguru import logger

from canari.kube import ApiError, Kube
from canari.objects import LEASE, Manifest

DURATION_SECONDS = 15
_ACTING_SECONDS = 10.0
_RETRY_SECONDS = 2.0


class LeaseLostError(Exception):
    """Another controller may act by now, so this one must not."""


class Lease:
    """The lease called `name`; `identity` is this process's own.

    `holder` is who was last seen to hold it, and `renewed_by_another` whether that one was seen to live.
    """

    def __init__(self, kube: Kube, name: str, identity: str, *, duration: int = DURATION_SECONDS) -> None:
        self._kube = kube
        self._name = name
        self._duration = duration
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self._acting_until = 0.0
        self.identity = identity
        self._contact_at = float("-inf")
        self.holder: str | None = None
        self.renewed_by_another = False

    @property
    def held(self) -> bool:
        """Whether this process may act."""
        return time.monotonic() < self._acting_until

    @property
    def trouble(self) -> str | None:
        """Why this process could not take over if it had to; None where it could."""
        away = time.monotonic() - self._contact_at > self._duration
        return "the API server of Kubernetes does not answer" if away else None

    def require(self) -> None:
        """Raise LeaseLostError where this process may not act."""
        if not self.held:
            raise LeaseLostError(f"the lease {self._name} is no longer held")

    def try_hold(self) -> bool:
        """Take the lease, or renew it; False while it is another's. Raises ApiError."""
        now = time.monotonic()
        found = self._kube.get(LEASE, self._name)
        self._contact_at = now
        if found is not None and not self._free(found, now):
            self._acting_until = 0.0
            return False
        try:
            self._write(found)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        self._acting_until = now + self._duration * _ACTING_SECONDS / DURATION_SECONDS
        self.holder = self.identity
        return True

    def release(self) -> None:
        """Let another take over at once; harmless where the lease is not held."""
        if not self.held:
            return
        self._acting_until = 0.0
        try:
            found = self._kube.get(LEASE, self._name)
            if found is not None and found["spec"].get("holderIdentity") == self.identity:
                self._kube.replace(
                    {**found, "spec": {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
                )
        except ApiError as error:
            logger.warning("the lease could not be released, and ends by itself: {}", error)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Take and renew the lease from a thread of its own; release it at the end."""
        ended = Event()
        thread = Thread(target=self._keep, args=(ended,), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.release()

    def _keep(self, ended: Event) -> None:
        while not ended.is_set():
            before = self.held
            try:
                self.try_hold()
            except ApiError as error:
                logger.debug("the lease: {}", error)
            if self.held != before:
                logger.info("this controller acts" if self.held else f"this controller waits: {self.holder} acts")
            ended.wait(_RETRY_SECONDS * self._duration / DURATION_SECONDS)

    def _free(self, found: Manifest, now: float) -> bool:
        spec = found["spec"]
        holder, renewed = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
        if (holder, renewed) != self._seen:
            self.renewed_by_another = self._seen is not None and holder not in {"", self.identity}
            self._seen, self._seen_at = (holder, renewed), now
        self.holder = holder
        return holder in {"", self.identity} or now - self._seen_at > spec.get("leaseDurationSeconds", self._duration)

    def _write(self, found: Manifest | None) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.identity, "leaseDurationSeconds": self._duration, "renewTime": moment}
        if found is None:
            metadata = {"name": self._name}
            spec |= {"acquireTime": moment, "leaseTransitions": 0}
            self._kube.create({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec})
            return
        old = found["spec"]
        if old.get("holderIdentity") != self.identity:
            spec |= {"acquireTime": moment, "leaseTransitions": old.get("leaseTransitions", 0) + 1}
        self._kube.replace({**found, "spec": {**old, **spec}})
