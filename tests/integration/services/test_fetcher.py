"""The fetcher between a real site and a real gateway, both on this machine."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient

from services.fetcher.app import create_app, gateway_client
from services.fetcher.fetch import Fetcher, Limits, Resolve, resolve

JPEG = b"\xff\xd8\xff\xe0" + bytes(2000)
LOOPBACK = ip_network("127.0.0.0/8")
MOST_BYTES = 100_000


class Site(ThreadingHTTPServer):
    """Answers by path; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str, *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def handle_error(self, *_: Any) -> None:
        """A fetcher that has seen enough breaks off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()} | {"body": repr(body)}))
        self.server.answers[self.path](self)

    do_GET = do_POST = answer  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        pass


def says(content: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer, as a photo unless `headers` say else."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        named = {"content_type": "image/jpeg", "content_length": str(len(content))} | headers
        for name, value in named.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "image/jpeg")
    handler.end_headers()
    handler.wfile.write(JPEG)
    for _ in range(10_000):
        handler.wfile.write(bytes(64 * 1024))


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "image/jpeg")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\xff")
        handler.wfile.flush()
        time.sleep(0.1)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        server.answers["/cat.jpg"] = says(JPEG)
        yield server
        server.shutdown()


@pytest.fixture
def gateway() -> Iterator[Site]:
    with Site() as server:
        server.answers["/api/cats_dogs/predict"] = says(
            b'{"answer": "cat"}', content_type="application/json", x_canari_version="3", server="hidden"
        )
        yield server
        server.shutdown()


@contextmanager
def fetching(
    site: Site,
    gateway: Site,
    *,
    allowed: bool = True,
    seconds: float = 5,
    places: int = 4,
    resolver: Resolve = resolve,
    tls: ssl.SSLContext | None = None,
) -> Iterator[TestClient]:
    limits = Limits(
        max_bytes=MOST_BYTES,
        seconds=seconds,
        connect_seconds=2,
        ports=frozenset({80, 443, site.port}),
        allowed=(LOOPBACK,) if allowed else (),
    )
    fetcher = Fetcher(limits, resolver=resolver, tls=tls)
    with TestClient(create_app(fetcher, gateway_client(gateway.url("")), places=places)) as client:
        yield client


def ask(client: TestClient, url: str, **headers: str) -> httpx.Response:
    answer: httpx.Response = client.post("/api/cats_dogs/predict-url", json={"url": url}, headers=headers)
    return answer


def refused(client: TestClient, url: str) -> tuple[int, str]:
    """The status and name of a problem whose words help and tell nothing of the inside."""
    answer = ask(client, url)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert len(problem["detail"]) > 40
    assert problem["request_id"] == answer.headers["x-request-id"]
    for inner in ("127.0.0.1", "10.0.0", "169.254", "refused]", "Errno"):
        assert inner not in problem["detail"], problem["detail"]
    return answer.status_code, problem["type"].rsplit(":", 1)[1]


def test_the_photo_goes_to_the_model_and_its_answer_comes_back(site: Site, gateway: Site) -> None:
    with fetching(site, gateway) as client:
        answer = ask(
            client,
            site.url("/cat.jpg"),
            authorization="Bearer secret",
            cookie="canari_session=secret",
            **{
                "x-canari-version": "3",
                "x-canari-consent": "keep",
                "x-request-id": "a-b",
                "traceparent": "00-1",
                "x-forwarded-for": "1.2.3.4",
            },
        )
    assert (answer.status_code, answer.json()) == (200, {"answer": "cat"})
    assert (answer.headers["x-canari-version"], answer.headers["x-request-id"]) == ("3", "a-b")
    assert "server" not in answer.headers
    [(_, told)] = gateway.asked
    assert told["body"] == repr(JPEG)
    assert {name: told.get(name) for name in ("authorization", "cookie", "x-canari-version", "content-type")} == {
        "authorization": "Bearer secret",
        "cookie": "canari_session=secret",
        "x-canari-version": "3",
        "content-type": "image/jpeg",
    }
    assert (told["x-request-id"], told["traceparent"], told["x-canari-consent"]) == ("a-b", "00-1", "keep")
    assert "x-forwarded-for" not in told
    [(_, shown)] = site.asked
    assert shown.keys() == {"host", "user-agent", "accept", "accept-encoding", "connection", "body"}
    assert shown["user-agent"].startswith("Canari/")


def test_a_refusal_of_the_model_comes_back_as_it_is(site: Site, gateway: Site) -> None:
    problem = b'{"type": "urn:canari:problem:too-many-requests"}'
    gateway.answers["/api/cats_dogs/predict"] = says(
        problem, 429, content_type="application/problem+json", retry_after="7"
    )
    with fetching(site, gateway) as client:
        answer = ask(client, site.url("/cat.jpg"))
    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (429, problem, "7")
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_gateway_the_answer_says_to_come_back(site: Site) -> None:
    with Site() as gone:
        gone.shutdown()
    with fetching(site, gone) as client:
        assert refused(client, site.url("/cat.jpg")) == (503, "gateway-away")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com/cat.jpg",
        "file:///etc/passwd",
        "gopher://example.com:80/_",
        "//example.com/cat.jpg",
        "example.com/cat.jpg",
        "http://",
        "http://user@example.com/cat.jpg",
        "https://user:password@example.com/cat.jpg",
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://exa\nmple.com/",
        "http://[::1",
        "http://example.com:99999999/",
        "http://example.com/" + "a" * 3000,
    ],
)
def test_an_address_that_is_none_of_the_webs_is_refused(site: Site, gateway: Site, address: str) -> None:
    with fetching(site, gateway) as client:
        answer = ask(client, address)
    assert (answer.status_code, answer.json()["title"]) == (422, "Invalid url")
    assert gateway.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0.0.0.0",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "１２７.0.0.1",
    ],
)
def test_this_machine_is_not_fetched_from_in_any_spelling(site: Site, gateway: Site, host: str) -> None:
    with fetching(site, gateway, allowed=False) as client:
        code = ask(client, site.url("/cat.jpg", host=host)).json()["title"]
    assert code in {"Address not public", "Invalid url"}
    assert site.asked == gateway.asked == []


def test_inner_names_and_names_that_are_none_get_the_same_answer(site: Site, gateway: Site) -> None:
    async def names(host: str, _port: int) -> list[str]:
        if host == "canari-postgres.inner":
            return ["10.0.0.7"]
        raise OSError

    with fetching(site, gateway, resolver=names) as client:
        inner, none = [ask(client, f"http://{name}/").json() for name in ("canari-postgres.inner", "none.inner")]
    assert inner | {"request_id": ""} == none | {"request_id": ""}


def test_a_name_is_resolved_once_and_what_was_judged_is_what_is_connected_to(site: Site, gateway: Site) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def rebinding(_host: str, _port: int) -> list[str]:
        return next(answers)

    with fetching(site, gateway, resolver=rebinding) as client:
        assert ask(client, site.url("/cat.jpg", host="cats.example")).status_code == 200
        assert [headers["host"] for _, headers in site.asked] == [f"cats.example:{site.port}"]
        assert refused(client, site.url("/cat.jpg", host="cats.example")) == (422, "address-not-public")


def test_a_name_with_one_inner_address_among_public_ones_is_refused(site: Site, gateway: Site) -> None:
    async def mixed(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.7"]

    with fetching(site, gateway, resolver=mixed) as client:
        assert refused(client, site.url("/cat.jpg", host="cats.example")) == (422, "address-not-public")
    assert site.asked == []


def test_the_next_address_of_a_name_is_tried(site: Site, gateway: Site) -> None:
    async def second_answers(_host: str, _port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    with fetching(site, gateway, resolver=second_answers) as client:
        assert ask(client, site.url("/cat.jpg", host="cats.example")).status_code == 200


def test_redirects_are_followed_three_times(site: Site, gateway: Site) -> None:
    site.answers |= {f"/{n}": says(b"", 302, location=f"/{n - 1}") for n in range(1, 5)} | {"/0": says(JPEG)}
    with fetching(site, gateway) as client:
        assert ask(client, site.url("/3")).status_code == 200
        assert refused(client, site.url("/4")) == (422, "too-many-redirects")


def test_a_redirect_to_the_inside_is_refused(site: Site, gateway: Site) -> None:
    async def names(host: str, _port: int) -> list[str]:
        return ["127.0.0.1"] if host == "cats.example" else [host]

    site.answers |= {
        "/inner": says(b"", 302, location="http://10.0.0.7/"),
        "/metadata": says(b"", 307, location="http://169.254.169.254/latest/meta-data/"),
        "/file": says(b"", 302, location="file:///etc/passwd"),
        "/port": says(b"", 302, location="http://cats.example:6379/"),
        "/user": says(b"", 302, location=f"http://a:b@cats.example:{site.port}/cat.jpg"),
        "/broken": says(b"", 302, location="http://[::1"),
    }
    with fetching(site, gateway, resolver=names) as client:
        found = {path: refused(client, site.url(path, host="cats.example"))[1] for path in list(site.answers)[1:]}
    assert found == {
        "/inner": "address-not-public",
        "/metadata": "address-not-public",
        "/file": "redirect-refused",
        "/port": "redirect-refused",
        "/user": "redirect-refused",
        "/broken": "redirect-refused",
    }
    assert gateway.asked == []


def test_what_is_no_photo_is_refused_with_the_reason(site: Site, gateway: Site) -> None:
    site.answers |= {
        "/page": says(b"<html>", content_type="text/html"),
        "/disguised": says(b"<html>"),
        "/empty": says(b""),
        "/missing": says(b"no", 404),
        "/bomb": says(gzip.compress(bytes(10**8)), content_encoding="gzip"),
    }
    with fetching(site, gateway) as client:
        found = {path: refused(client, site.url(path)) for path in list(site.answers)[1:]}
    assert found == {
        "/page": (422, "not-an-image"),
        "/disguised": (422, "not-an-image"),
        "/empty": (422, "not-an-image"),
        "/missing": (502, "site-refused"),
        "/bomb": (422, "unsupported-encoding"),
    }


def test_a_photo_over_the_limit_is_left_whether_or_not_its_length_is_told(site: Site, gateway: Site) -> None:
    site.answers |= {"/endless": endless, "/large": says(JPEG, content_length=str(10**12))}
    with fetching(site, gateway) as client:
        assert refused(client, site.url("/large")) == (413, "body-too-large")
        started = time.monotonic()
        assert refused(client, site.url("/endless")) == (413, "body-too-large")
        assert time.monotonic() - started < 2


def test_a_site_that_drips_is_left_when_the_time_is_over(site: Site, gateway: Site) -> None:
    site.answers["/drip"] = dripping
    with fetching(site, gateway, seconds=0.5) as client:
        started = time.monotonic()
        assert refused(client, site.url("/drip")) == (504, "site-too-slow")
        assert time.monotonic() - started < 2


def test_a_site_that_breaks_off_or_is_not_there_is_told(site: Site, gateway: Site) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "image/jpeg")
        handler.send_header("content-length", "5000")
        handler.end_headers()
        handler.wfile.write(JPEG)
        handler.close_connection = True

    site.answers["/broken"] = broken
    with fetching(site, gateway) as client:
        assert refused(client, site.url("/broken")) == (502, "site-unreachable")
        site.shutdown()
        site.server_close()
        assert refused(client, site.url("/cat.jpg")) == (502, "site-unreachable")


def test_more_fetches_than_places_are_told_when_to_come_back_and_places_are_given_back(
    site: Site, gateway: Site
) -> None:
    gate = threading.Event()

    def held(handler: BaseHTTPRequestHandler) -> None:
        gate.wait(5)
        says(JPEG)(handler)

    site.answers["/held"] = held
    with fetching(site, gateway, places=1) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(ask, client, site.url("/held"))
        while not site.asked:
            time.sleep(0.01)
        crowded = ask(client, site.url("/cat.jpg"))
        assert (crowded.status_code, crowded.headers["retry-after"]) == (429, "1")
        gate.set()
        assert first.result().status_code == 200
        refused(client, site.url("/nothing", host="10.0.0.7"))
        assert ask(client, site.url("/cat.jpg")).status_code == 200


def test_the_certificate_is_verified_for_the_name_that_was_asked_for(site: Site, gateway: Site, tmp_path: Path) -> None:
    async def here(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    certificate = self_signed(tmp_path, "cats.example")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    site.socket = served.wrap_socket(site.socket, server_side=True)
    trusted = ssl.create_default_context(cafile=certificate)
    with fetching(site, gateway, resolver=here, tls=trusted) as client:
        assert ask(client, site.url("/cat.jpg", host="cats.example", scheme="https")).status_code == 200
        wrong_name = site.url("/cat.jpg", host="dogs.example", scheme="https")
        assert refused(client, wrong_name) == (502, "site-untrusted")
    with fetching(site, gateway, resolver=here) as client:
        unknown_issuer = site.url("/cat.jpg", host="cats.example", scheme="https")
        assert refused(client, unknown_issuer) == (502, "site-untrusted")


def test_a_request_that_names_no_address_is_told_what_to_send(site: Site, gateway: Site) -> None:
    with fetching(site, gateway) as client:
        form = client.post("/api/cats_dogs/predict-url", data={"url": "http://example.com/"})
        assert form.status_code == 415
        # Another site's page can send these without asking first.
        for headers in ({}, {"content-type": "text/plain"}):
            simple = client.post("/api/cats_dogs/predict-url", content=b'{"url": "http://1.1.1.1/"}', headers=headers)
            assert simple.status_code == 415
        assert client.post("/api/cats_dogs/predict-url", json={}).status_code == 422
        assert client.post("/api/..%2Fadmin/predict-url", json={"url": "http://example.com/"}).status_code in {404, 422}
        assert client.get("/healthz").text == "ok"
        assert 'route="/api/{model}/predict-url"' in client.get("/metrics").text


def self_signed(folder: Path, name: str) -> Path:
    """A certificate for `name` and 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    own = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(own + certificate.public_bytes(pem))
    return file
