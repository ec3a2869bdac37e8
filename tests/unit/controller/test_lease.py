"""The lease, against an API server that keeps one object and, as the real one, refuses a write on an old version."""

from __future__ import annotations

import time
from typing import Any

import pytest

from canari.kube import ApiError
from canari.objects import Kind, Manifest
from services.controller.lease import Lease, LeaseLostError


class OneObject:
    def __init__(self) -> None:
        self.held: Manifest | None = None
        self.away = False

    def get(self, kind: Kind, name: str, **_: Any) -> Manifest | None:
        del kind, name
        self._answer()
        return self.held

    def create(self, manifest: Manifest) -> Manifest:
        self._answer()
        if self.held is not None:
            raise ApiError("there is one", 409)
        return self._keep(manifest, 1)

    def replace(self, manifest: Manifest) -> Manifest:
        self._answer()
        assert self.held is not None
        if manifest["metadata"]["resourceVersion"] != self.held["metadata"]["resourceVersion"]:
            raise ApiError("it has changed", 409)
        return self._keep(manifest, int(self.held["metadata"]["resourceVersion"]) + 1)

    def _answer(self) -> None:
        if self.away:
            raise ApiError("away", 0)

    def _keep(self, manifest: Manifest, version: int) -> Manifest:
        self.held = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(version)}}
        return self.held


@pytest.fixture
def server() -> OneObject:
    return OneObject()


def lease(server: OneObject, identity: str) -> Lease:
    return Lease(server, "canari-controller", identity, duration=1)  # type: ignore[arg-type]


def test_the_first_holds_and_the_second_waits(server: OneObject) -> None:
    first, second = lease(server, "a"), lease(server, "b")
    assert first.try_hold()
    assert not second.try_hold()
    assert (first.held, second.held, second.holder) == (True, False, "a")
    first.require()
    with pytest.raises(LeaseLostError):
        second.require()


def test_a_released_lease_is_anothers_at_once(server: OneObject) -> None:
    first, second = lease(server, "a"), lease(server, "b")
    first.try_hold()
    second.try_hold()
    first.release()
    assert not first.held
    assert second.try_hold()
    assert server.held is not None
    assert server.held["spec"]["leaseTransitions"] == 1


def test_a_holder_that_is_gone_is_followed_after_the_leases_time_and_not_before(server: OneObject) -> None:
    first, second = lease(server, "a"), lease(server, "b")
    first.try_hold()
    began = time.monotonic()
    while not second.try_hold():
        assert time.monotonic() < began + 5
        time.sleep(0.02)
    assert time.monotonic() - began > 1
    assert not first.held
    assert not second.renewed_by_another


def test_a_holder_stops_acting_before_another_may_begin(server: OneObject) -> None:
    first = lease(server, "a")
    first.try_hold()
    server.away = True
    began = time.monotonic()
    while first.held:
        with pytest.raises(ApiError):
            first.try_hold()
        time.sleep(0.02)
    assert 0.5 < time.monotonic() - began < 0.9


def test_a_renewed_lease_shows_that_its_holder_lives(server: OneObject) -> None:
    first, second = lease(server, "a"), lease(server, "b")
    first.try_hold()
    second.try_hold()
    assert not second.renewed_by_another
    first.try_hold()
    second.try_hold()
    assert second.renewed_by_another


def test_of_two_that_write_at_once_one_holds(server: OneObject) -> None:
    first, second = lease(server, "a"), lease(server, "b")
    first.try_hold()
    first.release()
    read = server.get

    def overtaken(*arguments: Any, **options: Any) -> Manifest | None:
        found = read(*arguments, **options)
        server.get = read  # type: ignore[method-assign]
        assert second.try_hold()
        return found

    server.get = overtaken  # type: ignore[method-assign]
    assert not first.try_hold()
    assert (first.held, second.held) == (False, True)


def test_a_lease_that_was_taken_away_is_no_longer_held(server: OneObject) -> None:
    first = lease(server, "a")
    first.try_hold()
    assert server.held is not None
    server.held["spec"]["holderIdentity"] = "somebody else"
    assert not first.try_hold()
    assert not first.held


def test_it_is_kept_while_it_is_needed_and_released_then(server: OneObject) -> None:
    first = lease(server, "a")
    with first.kept():
        time.sleep(1.5)
        assert first.held
        assert first.trouble is None
    assert server.held is not None
    assert server.held["spec"]["holderIdentity"] == ""
