from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import httpx

from canari.kube import ApiError
from canari.launch.launcher import State
from canari.policy import Judgement, Verdict
from canari.types import Arm, Rollout, RolloutMode, RolloutState, Share, Split
from services.controller.cluster import Loop
from services.controller.health import Health
from services.controller.lease import LeaseLostError
from services.controller.loop import Observed

ROLLOUT = Rollout(1, "drift", 1, 2, 0, 20, RolloutState.OPEN, datetime.now(UTC))
SEEN = Observed("drift", 1, ROLLOUT, {1: State.READY, 2: State.STARTING}, Split("drift", (), (), 1.0))


class FakeLease:
    def __init__(self, *, held: bool = True) -> None:
        self.held = held
        self.trouble: str | None = None


class FakeController:
    """Ticks as it is told: an exception is raised, anything else returned; then the loop ends."""

    def __init__(self, stop: Event, *outcomes: Any) -> None:
        self._stop = stop
        self._outcomes = list(outcomes)

    def tick(self) -> Any:
        outcome = self._outcomes.pop(0)
        if not self._outcomes:
            self._stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class FakePulse:
    def __init__(self) -> None:
        self.beats: list[str] = []

    def beat(self, message: str) -> None:
        self.beats.append(message)


def run(health: Health, *outcomes: Any, lease: FakeLease | None = None) -> list[str]:
    """The signs of life that were given."""
    stop, pulse = Event(), FakePulse()
    controller = FakeController(stop, *outcomes)
    Loop(controller, lease or FakeLease(), health, 0.01, pulse).run(stop)  # type: ignore[arg-type]
    return pulse.beats


def ready(health: Health) -> tuple[int, str]:
    status, _, body = health.answer("/readyz")
    return status, body.decode().strip()


def metrics(health: Health) -> str:
    return health.answer("/metrics")[2].decode()


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def test_a_controller_is_ready_after_a_round_and_not_after_one_that_failed() -> None:
    health = Health()
    assert ready(health) == (503, "starting")
    run(health, [SEEN])
    assert ready(health) == (200, "ok")
    run(health, ApiError("the API server is away", 0))
    assert ready(health) == (503, "the API server is away")
    run(health, ApiError("the API server is away", 0), [SEEN])
    assert ready(health) == (200, "ok")
    assert health.answer("/healthz")[0] == 200


def test_a_controller_that_waits_is_ready_unless_it_could_not_take_over() -> None:
    health, lease, stop = Health(), FakeLease(held=False), Event()
    loop = Loop(FakeController(stop), lease, health, 0.01, FakePulse())  # type: ignore[arg-type]
    Thread(target=loop.run, args=(stop,), daemon=True).start()
    while ready(health)[0] != 200:
        stop.wait(0.01)
    lease.trouble = "the API server does not answer"
    while ready(health)[0] != 503:
        stop.wait(0.01)
    stop.set()


def test_a_lost_lease_ends_the_round_and_nothing_else() -> None:
    health = Health()
    run(health, LeaseLostError("gone"), [SEEN])
    assert ready(health) == (200, "ok")


def test_a_sign_of_life_is_given_while_rounds_succeed_and_every_model_answers() -> None:
    share = Share(Arm(0, 0, 1), 100)
    answered = replace(SEEN, split=Split("drift", (share,), (), 1.0))
    nobody_asks = replace(SEEN, stable=None, rollout=None)
    assert run(Health(), [answered, nobody_asks]) == ["2 models answer"]
    assert run(Health(), [answered, SEEN], ApiError("away", 0)) == []


def test_metrics_tell_rounds_versions_and_weights() -> None:
    health = Health()
    run(health, ApiError("away", 0), [SEEN])
    text = metrics(health)
    for line in (
        'canari_controller_ticks_total{outcome="failure"} 1.0',
        'canari_controller_ticks_total{outcome="success"} 1.0',
        "canari_controller_tick_seconds_count 1.0",
        "canari_controller_leader 1.0",
        'canari_versions{model="drift",state="ready"} 1.0',
        'canari_versions{model="drift",state="starting"} 1.0',
        'canari_traffic_weight{model="drift",version="1"} 80.0',
        'canari_traffic_weight{model="drift",version="2"} 20.0',
    ):
        assert line in text
    assert "canari_rollout_open{" not in text, "one that people steer is not judged"


def test_metrics_tell_how_a_judged_rollout_does_and_forget_it_when_it_has_ended() -> None:
    health = Health()
    judged = replace(ROLLOUT, mode=RolloutMode.JUDGED, step=1, step_started_at=at(1_000), deadline_at=at(9_000))
    hold = Judgement(Verdict.HOLD, "no proxy of the gateway told its counts", barred=True)
    run(health, [replace(SEEN, rollout=judged, judgement=hold)])
    names = dict.fromkeys(("open", "held", "step"), 1.0)
    names |= {"step_started_timestamp_seconds": 1_000.0, "deadline_timestamp_seconds": 9_000.0}
    for name, value in names.items():
        assert f'canari_rollout_{name}{{model="drift",version="2"}} {value}\n' in metrics(health)
    paused = replace(judged, paused_at=at(2_000))
    run(health, [replace(SEEN, rollout=paused, judgement=hold)])
    assert 'canari_rollout_held{model="drift",version="2"} 0.0\n' in metrics(health)
    assert "canari_rollout_deadline_timestamp_seconds{" not in metrics(health)
    run(health, [replace(SEEN, rollout=None, judgement=hold)])
    assert "canari_rollout_open{" not in metrics(health)


def test_it_answers_over_http() -> None:
    health = Health()
    with health.served(0) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.get("/metrics").headers["content-type"].startswith("text/plain")
        assert client.get("/elsewhere").status_code == 404
