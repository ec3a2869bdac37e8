"""Rollouts end to end: five models on trial at once under real traffic, the same on every platform.

Each model is called by the temper of the version that is tried. The tests of `Rollouts` go in order: each continues
where the one before has left the platform.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from json import loads
from pathlib import Path
from typing import Any, Protocol

import httpx

from canari.family import find_family
from canari.tokens import SESSION_COOKIE
from services.jobs.making import Order
from services.jobs.pack import pack_version
from tests.acceptance.conftest import FULL, Figures
from tests.acceptance.traffic import Answer, People
from tests.cluster.tools import command, until
from tests.conftest import ROOT

TEMPERS = ("good", "wrong", "errs", "slow", "dies")
BAD = TEMPERS[1:]
# By which metric each bad version is found; the one that dies is found by its errors or by its absence.
FOUND_BY = {"wrong": "satisfaction", "errs": "errors", "slow": "latency"}
TEMPLATE = ROOT / "tests" / "families" / "tempers"
RATE = 8.0
SILENCE_SECONDS = 60 if FULL else 30
AWAY_SECONDS = 30 if FULL else 20
_SAMPLES = 200
_AFTER_SECONDS = 10
# Whoever came has been answered by then, and that has been looked at.
_CALM_SECONDS = 5
# A split is in force everywhere so soon after it was decided.
_SETTLING_SECONDS = 3.0


class World(Protocol):
    """A platform with the families of `write_families`, whose first versions are good."""

    families: Path

    def url(self) -> str:
        """The gateway's address."""

    def account(self) -> tuple[str, str]:
        """The name and password of somebody who may steer."""

    def metrics_away(self) -> AbstractContextManager[None]:
        """A while in which nobody can read what the gateway counted, although it answers as ever."""


def write_families(folder: Path) -> None:
    """A family for each temper, all alike but for the name. Two such folders in one process have different names."""
    for name in TEMPERS:
        shutil.copytree(TEMPLATE, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        spec = folder / name / "model.yaml"
        spec.write_text(re.sub(r"^name: .*", f"name: {name}", spec.read_text(), flags=re.MULTILINE))
    (folder / "__init__.py").touch()


def packed(families: Path, model: str, temper: str, to: Path) -> Path:
    """A version of this temper, trained here, as it is sent to a platform."""
    order = Order(seed=TEMPERS.index(temper) + 1, generate=_SAMPLES, options={"temper": temper})
    return pack_version(find_family(families, model), order, to / temper, lambda *_: None).folder


@dataclass
class Operator:
    """Somebody who steers a platform from elsewhere."""

    url: str
    name: str
    password: str

    def __post_init__(self) -> None:
        said = httpx.post(f"{self.url}/api/session", json={"name": self.name, "password": self.password}, timeout=30)
        assert said.is_success, said.text
        self._token = said.cookies[SESSION_COOKIE]
        headers = {"authorization": f"Bearer {self._token}"}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def canari(self, *arguments: str) -> Any:
        """What `canari ... --json` prints; it must end with status 0."""
        environment = {"CANARI_URL": self.url, "CANARI_API_TOKEN": self._token}
        said = command(sys.executable, "-m", "canari.cli", *arguments, "--json", environment=environment)
        return loads(said[said.index("{") :])

    def rollout(self, model: str, number: int) -> dict[str, Any]:
        """All that the platform knows of a rollout."""
        return self.get(f"/api/{model}/rollouts/{number}")

    def get(self, path: str, **asked: str) -> dict[str, Any]:
        """What a route answers."""
        answer = self._client.get(path, params=asked)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def answers(self, model: str, version: int) -> bool:
        """Whether a version answers. Who asks for a version by its number is no evidence."""
        pinned = {"x-canari-version": str(version)}
        return self._client.post(f"/api/{model}/predict", json={"x1": 0, "x2": 1}, headers=pinned).is_success


@dataclass
class Stage:
    """What the tests have done so far: versions on trial, and people."""

    world: World
    operator: Operator
    people: People
    canaries: dict[str, int]
    numbers: dict[str, int] = field(default_factory=dict)

    def start(self, model: str) -> None:
        """Open a rollout, and wait until its version answers."""
        version = self.canaries[model]
        self.numbers[model] = int(self.operator.canari("rollout", "start", model, str(version))["rollout"])
        until(lambda: self.operator.answers(model, version), f"version {version} of {model} to answer")

    def now(self, model: str) -> dict[str, Any]:
        """The model's rollout as the platform tells it."""
        return self.operator.rollout(model, self.numbers[model])

    def settled(self, model: str) -> dict[str, Any] | None:
        """The model's rollout, once it has ended."""
        found = self.now(model)
        return None if found["state"] == "open" else found

    def owed(self, answer: Answer) -> bool:
        """Whether a fault is the bad version's own: its answer, or the one that dies left a request without any.

        No header tells whose the latter was. It may only be told by the models beside it, whose versions live, that
        it did not come from the rolling; and none may be left once that version is rolled back.
        """
        if answer.what != "predict" or answer.model not in BAD:
            return False
        if answer.version is not None:
            return answer.version == self.canaries[answer.model]
        ended = self.now(answer.model)["settled_at"]
        return answer.model == "dies" and (ended is None or answer.at < _moment(ended) + _SETTLING_SECONDS)


@contextmanager
def staged(world: World, folder: Path) -> Iterator[Stage]:
    """Versions to be tried, each of its own temper, and people who do not come yet. `folder` is to keep packages."""
    operator = Operator(world.url(), *world.account())
    canaries = {}
    for model in TEMPERS:
        package = packed(world.families, model, model, folder)
        canaries[model] = int(operator.canari("push", model, "--package", str(package))["version"])
    samples = find_family(world.families, "good").generate(100_000, 99)
    people = People(world.url(), samples, RATE)
    people.start()
    yield Stage(world, operator, people, canaries)
    people.stop()


class Rollouts:
    """What is to be shown of every platform. The module of a subclass has a fixture `stage`, of its own scope."""

    def test_1_silence_holds(self, stage: Stage, figures: Figures) -> None:
        for model in TEMPERS:
            stage.start(model)
        time.sleep(SILENCE_SECONDS)
        for model in TEMPERS:
            found = stage.now(model)
            said = found["judgement"]
            figures.true(
                f"{SILENCE_SECONDS} s of silence hold {model} at its first step: {said['sentence']}",
                holds=_decided(found) == ["start"]
                and said["verdict"] == "hold"
                and "0 requests for the canary so far" in said["sentence"],
            )

    def test_2_what_cannot_be_read_holds_and_is_told(self, stage: Stage, figures: Figures) -> None:
        stage.people.models = ("good",)
        time.sleep(5)
        with stage.world.metrics_away():
            until(lambda: "no proxy" in stage.now("good")["judgement"]["sentence"], "the judge to tell", seconds=30)
            answered = len(stage.people.answers)
            time.sleep(AWAY_SECONDS)
            found, meanwhile = stage.now("good"), len(stage.people.answers) - answered
        figures.true(
            f"{AWAY_SECONDS} s without metrics, {meanwhile} requests: {found['judgement']['sentence']}",
            holds=_decided(found) == ["start"] and found["judgement"]["verdict"] == "hold" and meanwhile > AWAY_SECONDS,
        )
        said = until(lambda: _unless("no proxy", stage.now("good")), "the judge to go on", seconds=30)
        figures.note(f"and then it goes on: {said}")
        stage.people.models = ()
        time.sleep(_CALM_SECONDS)
        answers = sum(one.what == "predict" for one in stage.people.answers)
        counted = sum(one["n"] for one in stage.now("good")["evidence"] if one["metric"] == "errors")
        figures.true(f"of {answers} answers {counted} are counted, each once", holds=counted == answers)

    def test_3_each_version_gets_what_it_deserves(self, stage: Stage, figures: Figures) -> None:
        began = time.time()
        stage.people.models = TEMPERS
        ended = {model: _ended(stage, model) for model in (*BAD, "good")}
        for model, found in ended.items():
            last = found["decisions"][-1]
            expected, bar = ("promoted", 180) if model == "good" else ("rolled_back", 120)
            figures.true(
                f"{model} is {last['action'].replace('_', ' ')} by the {last['actor']}: {last['reason']}",
                holds=(last["action"], last["actor"]) == (expected, "controller"),
            )
            figures.at_most(f"{model}: seconds from its traffic to that", _moment(found["settled_at"]) - began, bar)
        for model, metric in FOUND_BY.items():
            found_by = ended[model]["decisions"][-1]["verdict"]["metric"]
            figures.true(f"{model} is found by its {found_by}", holds=found_by == metric)
        time.sleep(_AFTER_SECONDS)

    def test_4_a_dead_version_loses_its_weight_at_once(self, stage: Stage, figures: Figures) -> None:
        lasting = list(_outages([one for one in stage.people.answers if one.model == "dies"], stage.canaries["dies"]))
        figures.at_least("times that the version died under its clients", len(lasting), 1, ".0f")
        figures.at_most("seconds for which clients met a dead version, the longest time", max(lasting), 10)

    def test_5_clients_see_no_error_from_the_rolling(self, stage: Stage, figures: Figures) -> None:
        stage.people.stop()
        told = Counter((one.model, one.status, one.version) for one in stage.people.answers if one.what == "predict")
        for (model, status, version), count in sorted(told.items(), key=str):
            figures.note(f"{model}: {count} answers of status {status} by {version or 'no version'}")
        faults = [one for one in stage.people.answers if not one.good]
        unowed = [one for one in faults if not stage.owed(one)]
        for one in unowed[:10]:
            figures.note(str(one))
        figures.at_most(
            f"errors of {len(stage.people.answers)} requests that no bad version gave ({len(faults)} with theirs)",
            len(unowed), 0, ".0f",
        )  # fmt: skip

    def test_6_every_decision_is_the_same_again(self, stage: Stage, figures: Figures) -> None:
        for model, number in stage.numbers.items():
            replayed = stage.operator.canari("rollout", "replay", model, str(number))
            made = [f"{one['action']} by {one['actor']}" for one in replayed["compared"] if one["recorded"]]
            figures.true(
                f"{model}: judged again from {replayed['looks']} looks, {', '.join(made)} is the same",
                holds=replayed["same"] and len(made) == (2 if model == "good" else 1),
            )


def _ended(stage: Stage, model: str) -> dict[str, Any]:
    return until(lambda: stage.settled(model), f"{model} to have a verdict", seconds=300, pause=1)


def _decided(found: dict[str, Any]) -> list[str]:
    return [made["action"] for made in found["decisions"]]


def _unless(words: str, found: dict[str, Any]) -> str | None:
    sentence = str(found["judgement"]["sentence"])
    return None if words in sentence else sentence


def _outages(answers: list[Answer], version: int) -> Iterator[float]:
    """How long clients met a dead version, each time: from the first request without an answer to the last one.

    An outage is over where the version answers again.
    """
    began = last = None
    for answer in sorted(answers, key=lambda one: one.at):
        if answer.what == "predict" and answer.version is None:
            began, last = began or answer.at, answer.at
        elif answer.what == "predict" and answer.version == version and began and last:
            yield last - began
            began = last = None
    if began and last:
        yield last - began


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
