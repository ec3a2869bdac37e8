"""`canari rollout watch`: a rollout as it goes, until it is settled."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import httpx
import typer
from rich.live import Live

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    Token,
    Url,
    database,
    gateway,
    out,
    require_model,
    settings_for,
)
from canari.cli.rollout_frame import WITHOUT_VERDICT, frame, state_of, verdict_of
from canari.errors import CanariError
from canari.remote import checked
from canari.settings import Settings
from canari.types import RolloutMode, RolloutState

if TYPE_CHECKING:
    from sqlalchemy import Engine

STATUSES = {RolloutState.OPEN: 0, RolloutState.QUEUED: 0, RolloutState.PROMOTED: 0, RolloutState.ROLLED_BACK: 3}
ENDED_OTHERWISE, INTERRUPTED = 4, 130


def watch(
    model: Model,
    number: Annotated[
        int | None, typer.Argument(metavar="ID", help="The rollout's number; else the open one, else the newest.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show how it stands, and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Watch a rollout until it is settled: where it stands, what the judge says, and how each metric went.

    Without a terminal it prints a line for each change; with --json an object. Ends with 0 where the version was
    promoted (or is on trial still, with --once), 3 where it was rolled back, 4 where it was aborted or superseded.
    Ctrl-C leaves the rollout alone.
    """
    settings = settings_for(data_dir)
    stop = Event()
    try:
        with _platform(settings, token, url) as platform:
            watched = _Watched(platform, model, platform.newest(model) if number is None else number)
            with _interrupting(stop):
                if as_json or not out.is_terminal:
                    _print_changes(watched, interval, stop, once=once, as_json=as_json)
                else:
                    _draw(watched, interval, stop, once=once)
    except KeyboardInterrupt:
        stop.set()
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(STATUSES.get(RolloutState(watched.view["rollout"]["state"]), ENDED_OTHERWISE))


class _Platform(Protocol):
    """What is asked of a platform, here or elsewhere; all as JSON values."""

    def newest(self, model: str) -> int:
        """The rollout that is open, else the newest."""

    def course(self, model: str, number: int) -> Mapping[str, Any]:
        """Its course so far."""

    def expected(self, model: str, number: int) -> str | None:
        """How long it will take, where it is not settled."""


class _Elsewhere:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def newest(self, model: str) -> int:
        for asked in ({"state": RolloutState.OPEN.value}, {}):
            found = self._get(model, "", {**asked, "limit": "1"})["rollouts"]
            if found:
                return int(found[0]["id"])
        raise _none(model)

    def course(self, model: str, number: int) -> Mapping[str, Any]:
        return self._get(model, f"/{number}/course")

    def expected(self, model: str, number: int) -> str | None:
        found = self._get(model, f"/{number}")["expected"]
        return found["sentence"] if found else None

    def _get(self, model: str, route: str, asked: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        try:
            return checked(self._client.get(f"/api/{model}/rollouts{route}", params=asked))
        except httpx.TransportError as error:
            raise CanariError(f"{self._client.base_url} does not answer ({error})") from None


class _Here:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self, model: str) -> int:
        from canari.store import rollout_views

        require_model(self._engine, model)
        for states in ((RolloutState.OPEN,), ()):
            if found := rollout_views.listed(self._engine, model, last=1, states=states):
                return found[0].id
        raise _none(model)

    def course(self, model: str, number: int) -> Mapping[str, Any]:
        from canari.store import courses

        with _answering():
            view = courses.view(self._engine, model, number)
        found: dict[str, Any] = json.loads(json.dumps(asdict(view), default=str))
        return found

    def expected(self, model: str, number: int) -> str | None:
        from canari.store import rollout_views

        with _answering():
            found = rollout_views.expected(self._engine, rollout_views.detail(self._engine, model, number))
        return found.sentence if found else None


class _Watched:
    """A rollout, and what was last heard of it. A platform that is away for a while is waited for."""

    def __init__(self, platform: _Platform, model: str, number: int) -> None:
        self._platform = platform
        self.model, self.number = model, number
        self.trouble: str | None = None
        self.view: Mapping[str, Any] = {**platform.course(model, number), "model": model}
        self.expected = platform.expected(model, number)

    @property
    def settled(self) -> bool:
        """Whether nothing more comes."""
        return self.view["rollout"]["state"] not in {RolloutState.OPEN, RolloutState.QUEUED}

    def look(self) -> None:
        """Ask again."""
        before = self.view["rollout"]
        try:
            self.view = {**self._platform.course(self.model, self.number), "model": self.model}
            now = self.view["rollout"]
            if (now["state"], now["step"]) != (before["state"], before["step"]):
                self.expected = self._platform.expected(self.model, self.number)
        except CanariError as error:
            self.trouble = f"as of a while ago: {error}"
        else:
            self.trouble = None


@contextmanager
def _interrupting(stop: Event) -> Iterator[None]:
    """Have Ctrl-C set `stop`: an exception may be lost in a destructor, or leave a screen half drawn. Twice, it is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _draw(watched: _Watched, interval: float, stop: Event, *, once: bool) -> None:
    if not once and not watched.settled:
        with Live(_frame(watched), console=out, screen=True, auto_refresh=False) as live:
            while not watched.settled and not stop.wait(interval):
                watched.look()
                live.update(_frame(watched), refresh=True)
    # What was on the screen is gone with it.
    out.print(_frame(watched))


def _frame(watched: _Watched) -> Any:
    return frame(watched.view, expected=watched.expected, now=datetime.now(UTC), console=out, trouble=watched.trouble)


def _print_changes(watched: _Watched, interval: float, stop: Event, *, once: bool, as_json: bool) -> None:
    told = None
    while True:
        if (change := _change(watched.view)) != told:
            told = change
            line = json.dumps(_document(watched.view), ensure_ascii=False) if as_json else _line(watched.view)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        if once or watched.settled or stop.wait(interval):
            return
        watched.look()


def _change(view: Mapping[str, Any]) -> tuple[object, ...]:
    """What has to differ for a line of its own: sentences count figures, which do so at every look."""
    rollout, judgement = view["rollout"], view["judgement"] or {}
    told = tuple(judgement.get(name) for name in ("verdict", "metric", "barred"))
    sentence = re.sub(r"\d[\d.,]*", "#", judgement["sentence"]) if judgement.get("barred") else ""
    return rollout["state"], rollout["step"], rollout["weight"], rollout["paused_at"], told, sentence


def _line(view: Mapping[str, Any]) -> str:
    rollout, judgement = view["rollout"], view["judgement"]
    parts = [f"{datetime.now().astimezone():%H:%M:%S}", f"rollout {rollout['id']}", state_of(rollout)]
    if view["steps"]:
        parts.append(f"step {min(rollout['step'] + 1, len(view['steps']))} of {len(view['steps'])}")
    parts.append(f"{rollout['weight']} %")
    if rollout["mode"] == RolloutMode.MANUAL:
        parts.append("by hand")
    elif rollout["state"] not in WITHOUT_VERDICT:
        parts.append(verdict_of(judgement) + (f"  {judgement['sentence']}" if judgement else ""))
    return "  ".join(parts)


def _document(view: Mapping[str, Any]) -> dict[str, Any]:
    """The course without its past: of each metric the newest point."""
    metrics = [
        {name: value for name, value in metric.items() if name != "points"}
        | {"newest": metric["points"][-1] if metric["points"] else None}
        for metric in view["metrics"]
    ]
    return {**view, "metrics": metrics}


@contextmanager
def _platform(settings: Settings, token: str | None, url: str | None) -> Iterator[_Platform]:
    if url is not None:
        with gateway(settings, token, url) as client:
            yield _Elsewhere(client)
    else:
        with database(settings) as engine:
            yield _Here(engine)


@contextmanager
def _answering() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise CanariError(f"the database does not answer ({type(error).__name__})") from None


def _none(model: str) -> CanariError:
    return CanariError(f"{model} has no rollout yet: `canari rollout start {model} VERSION` begins one")
