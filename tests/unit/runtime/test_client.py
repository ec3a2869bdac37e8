from __future__ import annotations

from canari.runtime.client import connect


def test_the_platform_may_be_reached_by_tcp_too() -> None:
    client = connect("http://feedback:8000", "secret")
    request = client.build_request("GET", "/internal/revocations")
    assert str(request.url) == "http://feedback:8000/internal/revocations"
    assert request.headers["authorization"] == "Bearer secret"
