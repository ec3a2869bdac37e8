from __future__ import annotations

import time

from canari.runtime.client import connect
from canari.runtime.revocations import RevocationPoller
from canari.tokens import Verifier
from tests.unit.runtime.kit import PUBLIC_KEY, FeedbackServer


def test_the_list_is_read_at_once_again_and_again_and_outlives_the_platform(feedback: FeedbackServer) -> None:
    verifier = Verifier(PUBLIC_KEY)
    poller = RevocationPoller(verifier, connect(feedback.url, "t"), period=0.02)
    feedback.revoked = ["a"]
    poller.start()
    assert _soon(lambda: verifier.revoked == {"a"})
    feedback.revoked = ["a", "b"]
    assert _soon(lambda: verifier.revoked == {"a", "b"})
    feedback.revoked = 7  # type: ignore[assignment]
    assert _soon(lambda: poller._failing)
    assert verifier.revoked == {"a", "b"}
    feedback.revoked = []
    assert _soon(lambda: verifier.revoked == frozenset())
    poller.stop()
    poller._thread.join(2)
    assert not poller._thread.is_alive()


def _soon(condition: object) -> bool:
    assert callable(condition)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False
