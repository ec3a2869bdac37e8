"""The gateway as it really is: Envoy's own process, its files and its counters."""

from __future__ import annotations

import math
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from canari.evidence import Marks, look
from canari.launch.launcher import State
from canari.launch.processes import Supervisor
from canari.observations import Counts, Evidence, FaultKind, Metric
from canari.traffic.envoy_files import EnvoyFiles
from canari.types import Arm, Share, Split
from tests.routing import CASES, Case


class Upstream(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.seen: list[tuple[str, str | None]] = []
        self.requests: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(handler) -> None:  # noqa: N805
                handler.rfile.read(int(handler.headers.get("content-length", 0)))
                only = handler.path.partition("only=")[2].partition("&")[0]
                asked = handler.path if only in {"", name} else ""
                time.sleep(1 if "slower" in asked else 0.05 if "slow" in asked else 0)
                self.seen.append((handler.path, handler.headers.get("x-canari-arm")))
                self.requests.append(handler.headers.get("x-request-id"))
                status = int(asked.partition("status=")[2] or 200)
                if status == 0:
                    handler.close_connection = True
                    return
                body = name.encode()
                handler.send_response(status)
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            do_GET = do_POST = handle_request  # noqa: N815 - the standard library's names

            def address_string(handler) -> str:  # noqa: N805
                return "unix"

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(str(folder / f"{name}.sock"), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Gateway:
    in_force: Split

    def __init__(self, files: EnvoyFiles, supervisor: Supervisor, port: int, upstreams: dict[str, Upstream]) -> None:
        self.files = files
        self.supervisor = supervisor
        self.upstreams = upstreams
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def split(self, *shares: tuple[int, int], mirror: int | None = None, rollout: int = 7, seconds: float = 5) -> None:
        wanted = Split(
            model="cats_dogs",
            shares=tuple(Share(Arm(rollout, 2, version), weight) for version, weight in shares),
            pins=tuple(version for version, _ in shares),
            timeout_seconds=seconds,
            mirror=mirror,
        )
        until(lambda: self.files.apply([wanted]))
        self.in_force = wanted


def raw_get(gateway: Gateway, path: str) -> str:
    """What the gateway answers to a path that a client library would have tidied."""
    with socket.create_connection(("127.0.0.1", gateway.client.base_url.port or 80)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: canari\r\nconnection: close\r\n\r\n".encode())
        with connection.makefile() as answer:
            return answer.read()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def split_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        gateway.split((1, 99), (2, 1))
        yield gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path) as gateway:
        yield gateway


@contextmanager
def running_gateway(tmp_path: Path) -> Iterator[Gateway]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for folder in ("envoy", "pids", "logs", "s"):
        (tmp_path / folder).mkdir()
    names = ("feedback", "portal", "fetcher", "cats_dogs-1", "cats_dogs-2", "cats_dogs-3")
    upstreams = {name: Upstream(tmp_path / "s", name) for name in names}
    files = EnvoyFiles(tmp_path / "envoy", tmp_path / "s", host="127.0.0.1", port=port)
    supervisor = Supervisor(tmp_path / "pids", tmp_path / "logs")
    program = files.program
    until(lambda: supervisor.ensure(program) is State.READY)
    yield Gateway(files, supervisor, port, upstreams)
    supervisor.stop(["envoy"])
    for upstream in upstreams.values():
        upstream.shutdown()
        upstream.server_close()


def test_requests_are_split_by_weight_and_stamped_with_their_arm(gateway: Gateway) -> None:
    gateway.split((1, 80), (2, 20))
    forged = {"x-canari-arm": "9.9.9"}
    answers = Counter(
        gateway.client.post("/api/cats_dogs/predict", content=b"x", headers=forged).text for _ in range(1000)
    )
    assert answers.total() == 1000
    assert abs(answers["cats_dogs-2"] - 200) <= 51  # 4 sigma
    stamps = {arm for upstream in gateway.upstreams.values() for _, arm in upstream.seen}
    assert stamps == {"7.2.1", "7.2.2"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_request_goes_where_its_path_and_its_header_say(split_gateway: Gateway, case: Case) -> None:
    for upstream in split_gateway.upstreams.values():
        upstream.seen.clear()
    headers = {"x-canari-arm": "7.2.2"} | ({"x-canari-version": case.version} if case.version else {})
    answer = split_gateway.client.post(case.path, headers=headers)
    stamps = {name: upstream.seen[0][1] for name, upstream in split_gateway.upstreams.items() if upstream.seen}
    if case.answer == "refused":
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert "those that are: 1, 2" in answer.json()["detail"]
        assert stamps == {}
    elif case.answer == "arms":
        assert stamps in ({"cats_dogs-1": "7.2.1"}, {"cats_dogs-2": "7.2.2"})
    else:
        assert stamps == {f"cats_dogs-{case.answer.removeprefix('pin ')}": "pin"}


def test_a_model_without_a_ready_version_says_so(gateway: Gateway) -> None:
    gateway.split()
    refused = gateway.client.post("/api/cats_dogs/predict")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


def test_only_public_routes_are_reachable(gateway: Gateway) -> None:
    gateway.split((1, 100))
    expected = {
        "/": "portal",
        "/docs.json": "portal",
        "/api/status": "feedback",
        "/api/cats_dogs/feedback": "feedback",
        "/api/cats_dogs/predict-url": "fetcher",
        "/api/cats_dogs/predict/": "feedback",
        "/v2/health/ready": "feedback",
        "/v2/models/other/infer": "feedback",
        "/v2/models/cats_dogs": "cats_dogs-1",
    }
    assert {path: gateway.client.get(path).text for path in expected} == expected
    for hidden in ("/internal/predictions", "/api/../internal/predictions", "//internal/revocations"):
        answer = raw_get(gateway, hidden)
        assert answer.startswith("HTTP/1.1 404"), answer
    assert gateway.client.get("/api/%2e%2e%2finternal/predictions").status_code == 400


def test_a_mirror_gets_copies_and_its_answer_is_not_seen(gateway: Gateway) -> None:
    gateway.split((1, 100), mirror=3)
    answers = {gateway.client.post("/api/cats_dogs/predict", content=b"x").text for _ in range(20)}
    assert answers == {"cats_dogs-1"}
    until(lambda: len(gateway.upstreams["cats_dogs-3"].seen) == 20)
    assert {arm for _, arm in gateway.upstreams["cats_dogs-3"].seen} == {"7.2.1"}


def test_a_copy_has_the_request_id_of_its_request_however_large_that_is(gateway: Gateway) -> None:
    gateway.split((1, 100), mirror=3)
    for n in range(20):
        assert gateway.client.post("/api/cats_dogs/predict", content=b"x" * 300_000 * n).status_code == 200
    answered, copied = (gateway.upstreams[f"cats_dogs-{version}"] for version in (1, 3))
    until(lambda: len(copied.requests) == 20)
    assert len(set(answered.requests)) == 20
    assert set(copied.requests) == set(answered.requests)


def test_no_request_fails_while_weights_change_and_versions_come_and_go(gateway: Gateway) -> None:
    gateway.split((1, 100))
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=gateway.client.base_url, timeout=10) as client:
            while not stop.is_set():
                statuses.append(client.post("/api/cats_dogs/predict", content=b"x" * 1000).status_code)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for rollout in range(5):
        gateway.split((1, 70), (2, 30), rollout=rollout + 8)
        gateway.split((2, 100), rollout=rollout + 8)
        gateway.split((1, 100), rollout=rollout + 8)
    stop.set()
    for client in clients:
        client.join()
    assert len(statuses) > 100
    assert set(statuses) == {200}


def test_a_version_is_unused_only_once_its_last_request_has_ended(gateway: Gateway) -> None:
    gateway.split((1, 100))
    asking = threading.Thread(target=lambda: gateway.client.get("/v2/models/cats_dogs/slow"))
    asking.start()
    until(lambda: not gateway.files.unused("cats_dogs", 1), seconds=5)
    asking.join()
    until(lambda: gateway.files.unused("cats_dogs", 1))


def counted(gateway: Gateway) -> dict[Arm, Counts]:
    """What Envoy counted of each arm of the split in force."""
    ((_, clusters),) = gateway.files.counters().items()
    assert clusters is not None
    return {arm: clusters[name] for name, arm in gateway.files.arms(gateway.in_force).items()}


def test_envoy_counts_each_arm_as_its_clients_do(gateway: Gateway) -> None:
    gateway.split((1, 70), (2, 30))
    predict = "/api/cats_dogs/predict"
    asked = Counter(gateway.client.post(predict).text for _ in range(200))
    for path, times in [("?status=429", 3), ("?status=503", 2), ("?status=404", 4)]:
        asked.update(gateway.client.post(predict + path).text for _ in range(times))
    for pinned in ("1", "2"):
        gateway.client.post(predict, headers={"x-canari-version": pinned})
    found = counted(gateway)
    assert {f"cats_dogs-{arm.version}": counts.completed for arm, counts in found.items()} == asked
    total = Counter[str]()
    for counts in found.values():
        total.update({f"{digit}xx": n for digit, n in counts.classes.items()}, throttled=counts.throttled)
    assert total == {"2xx": 200, "4xx": 7, "5xx": 2, "throttled": 3}
    # Latency is what Envoy brings up to date by a clock.
    until(lambda: all(counts.latency[-1:] == ((math.inf, counts.completed),) for counts in counted(gateway).values()))


def test_a_request_tried_again_counts_once(gateway: Gateway) -> None:
    gateway.split((1, 100))
    away = gateway.upstreams["cats_dogs-1"]
    away.shutdown()
    away.server_close()
    assert [gateway.client.post("/api/cats_dogs/predict").status_code for _ in range(4)] == [503] * 4
    ((_, counts),) = counted(gateway).items()
    assert (counts.completed, counts.classes) == (4, {5: 4})
    assert counts.connect_failures == 12  # each was tried three times


def test_a_lost_connection_and_a_timeout_are_counted_as_such(gateway: Gateway) -> None:
    gateway.split((1, 100), seconds=0.02)
    predict = "/api/cats_dogs/predict"
    assert gateway.client.post(predict + "?status=0").status_code == 503
    assert gateway.client.post(predict + "?slow").status_code == 504
    ((_, counts),) = counted(gateway).items()
    assert (counts.completed, counts.classes) == (2, {5: 2})
    assert (counts.resets, counts.timeouts, counts.connect_failures) == (1, 1, 0)


def test_a_request_whose_client_left_is_not_counted(gateway: Gateway) -> None:
    gateway.split((1, 100))
    with pytest.raises(httpx.ReadTimeout):
        gateway.client.post("/api/cats_dogs/predict?slow", timeout=0.02)
    until(lambda: gateway.files.unused("cats_dogs", 1))
    assert gateway.client.post("/api/cats_dogs/predict").status_code == 200
    ((_, counts),) = counted(gateway).items()
    assert (counts.completed, counts.classes) == (1, {2: 1})


def test_a_restarted_envoy_counts_under_another_name(gateway: Gateway) -> None:
    gateway.split((1, 100))
    before = set(gateway.files.counters())
    assert set(gateway.files.counters()) == before
    gateway.supervisor.stop(["envoy"])
    until(lambda: gateway.supervisor.ensure(gateway.files.program) is State.READY)
    assert not before & set(gateway.files.counters())


class Judge:
    """Looks at a gateway again and again, as a controller does."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.marks: Marks = {}
        self.tick = 0
        self.found: list[Evidence] = []

    def look(self, wanted: Split | None = None) -> list[FaultKind]:
        """One look, after which the split is moved on towards `wanted`; returns what was wrong."""
        self.tick += 1
        files, split = self.gateway.files, wanted or self.gateway.in_force
        settled = wanted is None or files.apply([wanted])
        seen = look(
            self.marks,
            files.counters(),
            files.arms(split),
            rollout=7,
            tick=self.tick,
            settled=settled,
            budget_ms=20,
        )
        self.marks = seen.marks
        self.found += seen.evidence
        if wanted is not None and settled:
            self.gateway.in_force = wanted
        return [fault.kind for fault in seen.faults]

    def sums(self, metric: Metric) -> dict[tuple[int, int], tuple[int, int]]:
        found: dict[tuple[int, int], tuple[int, int]] = {}
        for row in (row for row in self.found if row.metric is metric):
            n, bad = found.get((row.step, row.version), (0, 0))
            found[row.step, row.version] = (n + row.n, bad + row.bad)
        return found


def test_looks_find_what_the_clients_of_each_arm_saw_whatever_the_weights(gateway: Gateway) -> None:
    predict = "/api/cats_dogs/predict"
    gateway.split((1, 70), (2, 30))
    judge = Judge(gateway)
    assert judge.look() == []
    asked: dict[int, Counter[str]] = {2: Counter(), 3: Counter()}

    def ask(step: int, times: int) -> None:
        for n in range(times):
            kind = ("", "?status=503", "?status=429", "?slow")[n % 4]
            asked[step][f"{gateway.client.post(predict + kind).text[-1]}{kind}"] += 1

    ask(2, 40)
    assert judge.look() == []
    before = gateway.in_force
    later = replace(before, shares=tuple(Share(replace(share.arm, step=3), 50) for share in before.shares))
    # What is asked until the new weights are in force belongs to the step before.
    while gateway.in_force != later:
        ask(2, 4)
        assert judge.look(later) == []
    ask(3, 40)

    def expected(bad: str) -> dict[tuple[int, int], tuple[int, int]]:
        return {
            (step, version): (
                sum(n for what, n in seen.items() if what[0] == str(version)),
                seen[f"{version}{bad}"],
            )
            for step, seen in asked.items()
            for version in (1, 2)
        }

    assert judge.look() == []
    assert judge.sums(Metric.ERRORS) == expected("?status=503")
    assert judge.sums(Metric.THROTTLED) == expected("?status=429")

    def caught_up() -> bool:
        judge.look()
        timed = sum(n for n, _ in judge.sums(Metric.LATENCY).values())
        return timed == sum(seen.total() for seen in asked.values())

    until(caught_up)
    over, slow = Counter[int](), Counter[int]()
    for (_, version), (_, bad) in judge.sums(Metric.LATENCY).items():
        over[version] += bad
    for seen in asked.values():
        slow.update({version: seen[f"{version}?slow"] for version in (1, 2)})
    # A busy machine may make others slow as well.
    assert over >= slow
    assert over.total() < sum(seen.total() for seen in asked.values())


def test_a_gateway_that_was_restarted_leaves_a_hole_that_is_told_and_counts_on(gateway: Gateway) -> None:
    gateway.split((1, 100))
    judge = Judge(gateway)
    judge.look()
    gateway.client.post("/api/cats_dogs/predict")
    gateway.supervisor.stop(["envoy"])
    until(lambda: gateway.supervisor.ensure(gateway.files.program) is State.READY)
    until(lambda: gateway.client.post("/api/cats_dogs/predict").status_code == 200)
    assert judge.look() == [FaultKind.VANISHED]
    assert judge.sums(Metric.ERRORS) == {(2, 1): (1, 0)}


def test_looks_find_what_a_shadow_answered_its_copies_until_it_gets_traffic(gateway: Gateway) -> None:
    predict, shadow = "/api/cats_dogs/predict", "?only=cats_dogs-3&"
    gateway.split((1, 100), mirror=3)
    judge = Judge(gateway)
    assert judge.look() == []
    for kind in (*[""] * 30, *["status=503"] * 3, *["status=429"] * 2, *["slow"] * 4):
        assert gateway.client.post(predict + shadow + kind).status_code == 200
    until(lambda: len(gateway.upstreams["cats_dogs-3"].seen) == 39)

    def caught_up() -> bool:
        assert judge.look() == []
        return {n for n, _ in judge.sums(Metric.LATENCY).values()} == {39}

    until(caught_up)
    assert judge.sums(Metric.ERRORS) == {(2, 1): (39, 0), (2, 3): (39, 3)}
    assert judge.sums(Metric.THROTTLED) == {(2, 1): (39, 0), (2, 3): (39, 2)}
    # A busy machine may make others slow as well.
    assert judge.sums(Metric.LATENCY)[2, 3][1] >= 4
    before = gateway.in_force
    shares = (Share(Arm(7, 3, 1), 50), Share(Arm(7, 3, 3), 50))
    later = replace(before, shares=shares, pins=(1, 3), mirror=None)
    while gateway.in_force != later:
        assert judge.look(later) == []
    answers = Counter(gateway.client.post(predict).text for _ in range(40))
    assert judge.look() == []
    found = {arm: n for arm, (n, _) in judge.sums(Metric.ERRORS).items()}
    assert found == {(2, 1): 39, (2, 3): 39, (3, 1): answers["cats_dogs-1"], (3, 3): answers["cats_dogs-3"]}


def test_a_shadow_that_is_away_or_too_slow_errs_and_no_client_sees_it(gateway: Gateway) -> None:
    predict = "/api/cats_dogs/predict"
    gateway.split((1, 100), mirror=3, seconds=0.5)
    judge = Judge(gateway)
    judge.look()
    assert gateway.client.post(predict + "?only=cats_dogs-3&slower").status_code == 200
    away = gateway.upstreams["cats_dogs-3"]
    away.shutdown()
    away.server_close()
    assert {gateway.client.post(predict).status_code for _ in range(4)} == {200}

    def counted_all() -> bool:
        assert judge.look() == []
        return judge.sums(Metric.ERRORS) == {(2, 1): (5, 0), (2, 3): (5, 5)}

    until(counted_all)
