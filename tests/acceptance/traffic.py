"""People who use models, and notice everything: each asks once, and half of them say whether the answer was right."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from threading import Event, Thread
from typing import Any, Literal

import httpx

from canari.family import RawSample
from canari.tokens import SESSION_COOKIE

_VOTING = 0.5
_THINKING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person got, at the moment it was there: `status` 0 where the connection broke, `version` where told."""

    at: float
    what: Literal["visit", "predict", "vote"]
    model: str | None
    status: int
    version: int | None
    said: str = ""

    @property
    def good(self) -> bool:
        """Whether it is what was asked for."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(self.at))
        by = f" by version {self.version}" if self.version else ""
        return f"{moment} {self.what} {self.model or ''}: {self.status}{by} {self.said[:150]}"


@dataclass
class People(Thread):
    """`rate` people a second; each has a session of their own and asks every model of `models` about one sample.

    They come whether or not those before them have been answered.
    """

    url: str
    samples: Iterable[RawSample]
    rate: float
    models: Collection[str] = ()
    media_type: str = "application/json"
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._told_to_stop = Event()

    __hash__ = Thread.__hash__

    def run(self) -> None:
        """Let people come until told to stop, and those who came end."""
        asyncio.run(self._come())

    def stop(self) -> None:
        """Nobody comes any more."""
        self._told_to_stop.set()
        self.join(timeout=60)

    async def _come(self) -> None:
        limits = httpx.Limits(max_connections=500, max_keepalive_connections=100)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=30, limits=limits) as client,
            asyncio.TaskGroup() as there,
        ):
            # What one person's session sets is not the next one's.
            client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            due = time.monotonic()
            for sample in self.samples:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if self._told_to_stop.is_set():
                    return
                if self.models:
                    there.create_task(self._visit(client, sample))
                due += 1 / self.rate

    async def _visit(self, client: httpx.AsyncClient, sample: RawSample) -> None:
        entered = await self._ask(client, "visit", None, "/api/session/anonymous", {})
        if entered is None:
            return
        person = {"cookie": f"{SESSION_COOKIE}={entered.cookies[SESSION_COOKIE]}"}
        await asyncio.gather(*(self._try(client, model, sample, person) for model in self.models))

    async def _try(self, client: httpx.AsyncClient, model: str, sample: RawSample, person: dict[str, str]) -> None:
        answer = await self._ask(
            client, "predict", model, f"/api/{model}/predict", person, content=sample.content, kind=self.media_type
        )
        if answer is None or random.random() >= _VOTING:
            return
        await asyncio.sleep(random.random() * _THINKING_SECONDS)
        said = answer.json()
        vote = {"prediction_id": said["prediction_id"], "right": said["answer"] == sample.label}
        await self._ask(
            client, "vote", model, f"/api/{model}/feedback", person,
            content=json.dumps(vote).encode(), kind="application/json",
        )  # fmt: skip

    async def _ask(
        self,
        client: httpx.AsyncClient,
        what: Literal["visit", "predict", "vote"],
        model: str | None,
        path: str,
        person: dict[str, str],
        **body: Any,
    ) -> httpx.Response | None:
        """The answer, where it is a good one."""
        kind = body.pop("kind", None)
        try:
            answer = await client.post(path, headers=person | ({"content-type": kind} if kind else {}), **body)
        except httpx.HTTPError as error:
            self.answers.append(Answer(time.time(), what, model, 0, None, repr(error)))
            return None
        version = answer.headers.get("x-canari-version")
        said = "" if answer.is_success else answer.text
        self.answers.append(
            Answer(time.time(), what, model, answer.status_code, int(version) if version else None, said)
        )
        return answer if answer.is_success else None
