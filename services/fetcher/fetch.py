"""Fetching a photo from an address that anyone may name, without reaching anything that is not public.

Names are resolved by the network backend itself, at the moment of connecting, and the connection goes to the very
address that was judged: a name that leads elsewhere a moment later (DNS rebinding) gains nothing. httpcore alone, below
httpx, does what is asked and no more: no redirects, cookies, proxies or decompression of its own.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

import httpcore
import httpx

from canari import __version__
from canari.errors import Problem
from services.fetcher.addresses import Address, Network, is_public

INSTEAD = "Or send the photo itself to /api/{model}/predict."
_LONGEST_URL = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 3
# More are seldom given, and each may take a whole connect timeout.
_MOST_ADDRESSES = 3
_SIGNATURES = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "image/bmp": re.compile(rb"BM"),
}
Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a fetch may go; times in seconds."""

    max_bytes: int
    seconds: float
    connect_seconds: float
    ports: frozenset[int] = frozenset({80, 443})
    allowed: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo's bytes and its media type, by its first bytes."""

    content: bytes
    media_type: str


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the machine resolves it; raises OSError where there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses alone, each name resolved once per connection. No Unix sockets."""

    def __init__(self, allowed: tuple[Network, ...], resolver: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolver
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to one of the host's addresses; raises Problem where any of them is not public."""
        last: Exception | None = None
        for address in await self._public(host, port):
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        assert last is not None
        raise last

    async def _public(self, host: str, port: int) -> list[Address]:
        try:
            addresses = [ip_address(address) for address in await self._resolve(host, port)]
        except (OSError, UnicodeError, ValueError):
            addresses = []
        # One answer for unknown names and inner ones: nobody learns here which names there are inside.
        if not addresses or not all(is_public(address, self._allowed) for address in addresses):
            raise Problem(
                422,
                "address-not-public",
                f"This address does not lead to the public Internet: check its spelling. {INSTEAD}",
            )
        return list(dict.fromkeys(addresses))[:_MOST_ADDRESSES]


class Fetcher:
    """Fetches photos; each with connections of its own, so that every one is judged anew."""

    def __init__(self, limits: Limits, *, resolver: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._backend = PublicBackend(limits.allowed, resolver)
        self._tls = tls or httpx.create_ssl_context()

    async def fetch(self, address: str) -> Photo:
        """The photo at `address`, up to three redirects away; raises Problem, which says how to mend it."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._follow(self._parsed(address))
        except (TimeoutError, httpcore.TimeoutException):
            seconds = f"{self._limits.seconds:g}"
            detail = f"The site did not send the whole photo within {seconds} s: try again later. {INSTEAD}"
            raise Problem(504, "site-too-slow", detail) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise _unreachable(error) from None

    async def _follow(self, url: httpx.URL) -> Photo:
        for _ in range(1 + _MOST_REDIRECTS):
            async with (
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=self._backend, max_keepalive_connections=0
                ) as pool,
                pool.stream(
                    "GET",
                    httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=_request_headers(url),
                    extensions={"timeout": {"connect": self._limits.connect_seconds}},
                ) as response,
            ):
                headers = httpx.Headers(response.headers)
                if response.status not in _REDIRECTS or "location" not in headers:
                    return await self._read(response, headers)
                url = self._joined(url, headers["location"])
        raise Problem(
            422,
            "too-many-redirects",
            f"The site redirects more than {_MOST_REDIRECTS} times: give the photo's final address.",
        )

    def _parsed(self, address: str) -> httpx.URL:
        if len(address) > _LONGEST_URL:
            raise _invalid(f"It is over {_LONGEST_URL} characters long")
        try:
            return self._checked(httpx.URL(address.strip()))
        except httpx.InvalidURL as error:
            raise _invalid(f"It cannot be read ({error})") from None

    def _joined(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            return self._checked(url.join(location))
        except (httpx.InvalidURL, Problem):
            detail = f"The site redirects to an address that is not fetched. {INSTEAD}"
            raise Problem(422, "redirect-refused", detail) from None

    def _checked(self, url: httpx.URL) -> httpx.URL:
        if url.scheme not in _DEFAULT_PORTS or not url.host:
            raise _invalid("It has to begin with http:// or https:// and a name")
        if url.userinfo:
            raise _invalid("It holds a name or password before the @: leave them out")
        if (url.port or _DEFAULT_PORTS[url.scheme]) not in self._limits.ports:
            ports = ", ".join(map(str, sorted(self._limits.ports)))
            raise _invalid(f"It names another port than these: {ports}")
        return url

    async def _read(self, response: httpcore.Response, headers: httpx.Headers) -> Photo:
        if response.status != 200:
            detail = f"The site answers {response.status} at this address: check that it opens in a browser."
            raise Problem(502, "site-refused", detail, site_status=response.status)
        _check_kind(headers)
        declared = headers.get("content-length", "")
        most = self._limits.max_bytes
        if declared.isdecimal() and int(declared) > most:
            raise _too_large(most)
        parts, size = [], 0
        async for part in response.aiter_stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
        return _photo(b"".join(parts))


def _request_headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    return [
        (b"Host", url.netloc),
        (b"User-Agent", f"Canari/{__version__}".encode()),
        (b"Accept", b"image/*"),
        (b"Accept-Encoding", b"identity"),
        (b"Connection", b"close"),
    ]


def _check_kind(headers: httpx.Headers) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not media_type.startswith("image/"):
        detail = "What is at this address is not sent as a photo (image/*): give the address of the photo itself, "
        raise Problem(422, "not-an-image", detail + "not of a page that shows it.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        detail = f"The site sends the photo compressed (Content-Encoding), which is not accepted. {INSTEAD}"
        raise Problem(422, "unsupported-encoding", detail)


def _photo(content: bytes) -> Photo:
    for media_type, signature in _SIGNATURES.items():
        if signature.match(content):
            return Photo(content, media_type)
    detail = "What is at this address is not a photo; JPEG, PNG, WebP, GIF and BMP are accepted."
    raise Problem(422, "not-an-image", detail)


def _invalid(reason: str) -> Problem:
    return Problem(422, "invalid-url", f"The address is not one that is fetched. {reason}.")


def _too_large(most: int) -> Problem:
    return Problem(413, "body-too-large", f"The photo is over the {most} bytes that are fetched.", max_bytes=most)


def _unreachable(error: Exception) -> Problem:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        detail = f"The site's certificate cannot be verified, so nothing was fetched. {INSTEAD}"
        return Problem(502, "site-untrusted", detail)
    detail = f"The site cannot be reached, or broke off: check the address, or try again later. {INSTEAD}"
    return Problem(502, "site-unreachable", detail)
