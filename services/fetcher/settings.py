"""What the fetcher may be told, beside what every service is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from canari.settings import Settings
from services.fetcher.addresses import Network


class FetcherSettings(Settings):
    """How far the fetcher goes. Lists are separated by commas."""

    gateway_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^/]+$",
        description="The gateway, as this process reaches it: `http://host:port`.",
    )
    fetcher_allow_private: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(), description="Networks that may be fetched from though they are not public, in CIDR notation."
    )
    fetcher_ports: Annotated[tuple[int, ...], NoDecode] = Field(default=(80, 443), description="Ports one may name.")
    fetcher_max_bytes: int = Field(default=10 * 2**20, ge=1, description="The largest photo that is fetched.")
    fetcher_timeout: float = Field(
        default=15, gt=0, le=60, description="Seconds for a whole fetch, redirects included."
    )
    fetcher_connect_timeout: float = Field(default=5, gt=0, le=60, description="Seconds for one connection.")
    fetcher_concurrency: int = Field(default=8, ge=1, description="Fetches at once; more are answered 429.")

    @field_validator("fetcher_allow_private", "fetcher_ports", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
