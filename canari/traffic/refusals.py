"""What a request that no version can take is told: on one machine by Envoy, on a cluster by the feedback API. Pure."""

from __future__ import annotations

from collections.abc import Collection

from canari.errors import Problem

RETRY_AFTER_SECONDS = 5


def no_such_version(model: str, running: Collection[int]) -> Problem:
    """The version that a request asked for does not run."""
    known = ", ".join(map(str, sorted(running))) or "none"
    return Problem(404, "no-such-version", f"This version of {model} is not running; those that are: {known}.")


def no_version_ready(model: str) -> Problem:
    """No version answers yet."""
    return Problem(
        503,
        "no-version-ready",
        f"No version of {model} is ready yet: try again in a moment.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
