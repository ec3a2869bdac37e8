"""The Gateway API as a real Envoy Gateway does it, by the chart's own Gateway and policies, before pods that echo."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import httpx
import pytest
import yaml

from canari.kube import Kube, connect
from canari.launch.cluster_config import BentoPods, ClusterConfig, FeedbackRef, GatewayRef
from canari.observations import Counts
from canari.traffic.gateway_api import SETTLE_SECONDS, GatewayRoutes
from canari.types import Arm, Share, Split
from tests.cluster.echo import echo
from tests.cluster.tools import Kubectl, command, until
from tests.conftest import ROOT
from tests.routing import CASES, PREDICT, Case

PROXIES = "envoy-gateway-system"
ROUTE = "httproute/cats-dogs"
FIRST, SECOND, SHADOW = Arm(7, 2, 1), Arm(7, 2, 2), Arm(7, 2, 3)


def split(*shares: tuple[Arm, int], **more: Any) -> Split:
    arms = tuple(Share(arm, weight) for arm, weight in shares)
    return Split("cats_dogs", arms, pins=tuple(share.arm.version for share in arms), timeout_seconds=5, **more)


@dataclass
class Edge:
    """A Gateway with its routes, and a client of it."""

    kubectl: Kubectl
    routes: GatewayRoutes
    client: httpx.Client
    split: Split

    def apply(self, wanted: Split) -> None:
        """Put a split in force, and wait until the proxy follows: nothing but an answer tells that it does."""
        until(lambda: self.routes.apply([wanted]), f"the route {wanted}: {self.routes.troubles}", pause=0.05)
        stamps = {str(share.arm) for share in wanted.shares if share.weight}
        seen: set[str] = set()
        while not stamps <= seen:
            seen = (seen | {self.ask()["stamp"]}) & stamps
        self.split = wanted

    def ask(self, path: str = PREDICT, **headers: str) -> dict[str, str]:
        """Who answered, and which stamp they saw."""
        answer = self.client.post(
            path, content=b"x" * 2000, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def counts(self) -> dict[Arm, Counts]:
        """What the one proxy counted of each arm of the split in force."""
        ((_, clusters),) = self.routes.counters().items()
        assert clusters is not None
        found: dict[Arm, Counts] = {}
        for name, arm in self.routes.arms(self.split).items():
            one, other = found.get(arm, Counts()), clusters.get(name, Counts())
            classes = Counter(one.classes) + Counter(other.classes)
            found[arm] = replace(one, completed=one.completed + other.completed, classes=classes)
        return found

    def seen(self, name: str) -> Counter[str]:
        """How often the pod of a Deployment saw each stamp."""
        (pod,) = [
            p for p in self.kubectl.items("pods", f"--selector=app={name}") if "deletionTimestamp" not in p["metadata"]
        ]
        return Counter(httpx.get(f"http://{pod['status']['podIP']}:3000/seen").json())


@pytest.fixture(scope="module")
def edge(namespace: Kubectl) -> Iterator[Edge]:
    assert namespace.namespace
    backends = ("canari-feedback", "cats-dogs-v1", "cats-dogs-v2", "cats-dogs-v3")
    namespace.apply(*(manifest for name in backends for manifest in echo(name)), *chart_gateway(namespace.namespace))
    config = ClusterConfig(
        instance="canari",
        namespace=namespace.namespace,
        gateway=GatewayRef(name="canari", namespace=namespace.namespace, proxy_namespace=PROXIES),
        feedback=FeedbackRef(service="canari-feedback"),
        bento=BentoPods(image="none"),
    )
    routes = GatewayRoutes(Kube(connect(), namespace.namespace), config, lambda _: None)
    for name in backends:
        namespace("rollout", "status", f"deployment/{name}", "--timeout=120s")
    owner = f"--selector=gateway.envoyproxy.io/owning-gateway-namespace={namespace.namespace}"
    proxy = until(lambda: ready_pods(namespace.within(PROXIES), owner), "the Gateway's proxy")[0]
    with httpx.Client(base_url=f"http://{proxy['status']['podIP']}:10080", timeout=20) as client:
        found = Edge(namespace, routes, client, split())
        until(lambda: routes.apply([split((FIRST, 100))]), "the first route")
        until(lambda: client.post(PREDICT).status_code == 200, "the proxy's first answer")
        yield found


def chart_gateway(namespace: str) -> list[dict[str, Any]]:
    """The Gateway and its policies as the chart writes them."""
    files = [f"templates/gateway/{name}.yaml" for name in ("gateway", "backendtrafficpolicy", "clienttrafficpolicy")]
    rendered = command(
        *("helm", "template", "canari", str(ROOT / "helm" / "canari"), "--namespace", namespace),
        "--api-versions=gateway.envoyproxy.io/v1alpha1",
        *(f"--show-only={file}" for file in files),
    )
    return [manifest for manifest in yaml.safe_load_all(rendered) if manifest]


def ready_pods(kubectl: Kubectl, selector: str) -> list[dict[str, Any]]:
    return [
        pod
        for pod in kubectl.items("pods", selector)
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]


class Clients:
    """Four clients that ask fifty times a second between them; every answer but a good one is a fault."""

    def __init__(self, edge: Edge, pause: float = 0.08) -> None:
        self._base_url, self._pause = edge.client.base_url, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(4)]
        self.answers: Counter[str] = Counter()
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._base_url, timeout=20) as client:
            while not self._stop.wait(self._pause):
                try:
                    answer = client.post(PREDICT, content=b"x" * 2000)
                except httpx.HTTPError as error:
                    self.faults.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answers[answer.json()["who"]] += 1
                else:
                    self.faults.append(f"{answer.status_code} {answer.text}")


def test_requests_are_split_stamped_and_counted_exactly(edge: Edge) -> None:
    edge.apply(split((FIRST, 80), (SECOND, 20)))
    before = edge.counts()
    answers = Counter((a["who"], a["stamp"]) for a in (edge.ask(x_canari_arm="9.9.9") for _ in range(1000)))
    assert set(answers) == {("cats-dogs-v1", "7.2.1"), ("cats-dogs-v2", "7.2.2")}
    assert abs(answers["cats-dogs-v2", "7.2.2"] - 200) <= 51  # 4 sigma
    after = edge.counts()
    counted = {str(arm): after[arm].completed - before[arm].completed for arm in after}
    assert counted == {stamp: n for (_, stamp), n in answers.items()}
    assert all(counts.classes == {2: counts.completed} for counts in after.values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_request_goes_where_its_path_and_its_header_say(edge: Edge, case: Case) -> None:
    wanted = split((FIRST, 99), (SECOND, 1))
    if edge.split != wanted:
        edge.apply(wanted)
    before = edge.counts()
    answer = edge.ask(case.path, x_canari_arm="7.2.2", **({"x_canari_version": case.version} if case.version else {}))
    counted = {arm: n.completed - before[arm].completed for arm, n in edge.counts().items()}
    if case.answer == "refused":
        assert answer["who"] == "canari-feedback"
    elif case.answer == "arms":
        assert answer["stamp"] == f"7.2.{answer['who'].removeprefix('cats-dogs-v')}"
    else:
        assert answer == {"who": case.answer.replace("pin ", "cats-dogs-v"), "stamp": "pin"}
    assert sum(counted.values()) == (case.answer == "arms")


def test_a_mirror_gets_its_percentage_and_nobody_sees_its_answer(edge: Edge) -> None:
    edge.apply(split((FIRST, 100), mirror=3, mirror_percent=50))
    before, counted = edge.seen("cats-dogs-v3"), edge.counts()
    assert {edge.ask()["who"] for _ in range(400)} == {"cats-dogs-v1"}
    assert edge.counts()[FIRST].completed - counted[FIRST].completed == 400
    copies = until(lambda: edge.seen("cats-dogs-v3") - before, "copies")
    assert set(copies) == {"7.2.1"}
    assert abs(copies.total() - 200) <= 40  # 4 sigma
    until(
        lambda: edge.counts()[SHADOW].completed - counted[SHADOW].completed == copies.total(), "the copies' own counts"
    )
    assert edge.counts()[SHADOW].classes == {2: edge.counts()[SHADOW].completed}


def test_without_a_ready_version_the_feedback_api_answers(edge: Edge) -> None:
    until(lambda: edge.routes.apply([split()]), "the route")
    until(lambda: edge.ask()["who"] == "canari-feedback", "the feedback API's answer")
    assert edge.ask("/v2/models/cats_dogs/infer")["who"] == "canari-feedback"
    edge.apply(split((FIRST, 100)))


def test_a_restarted_controller_touches_no_route_and_a_hand_edit_is_put_right(edge: Edge) -> None:
    edge.apply(split((FIRST, 70), (SECOND, 30)))
    generation = edge.kubectl.json("get", ROUTE)["metadata"]["generation"]
    again = GatewayRoutes(edge.routes._kube, edge.routes._config, lambda _: None)
    assert again.apply([edge.split])
    assert edge.kubectl.json("get", ROUTE)["metadata"]["generation"] == generation
    weight = [{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 99}]
    edge.kubectl("patch", ROUTE, "--type=json", f"--patch={yaml.safe_dump(weight)}")
    assert edge.kubectl.json("get", ROUTE)["metadata"]["generation"] == generation + 1
    until(lambda: again.apply([edge.split]), "the route")
    weights = [b["weight"] for b in edge.kubectl.json("get", ROUTE)["spec"]["rules"][0]["backendRefs"]]
    assert weights == [70, 30]


def test_no_request_is_lost_where_an_arm_comes_or_goes(edge: Edge) -> None:
    """Envoy Gateway changes Envoy's route and its clusters one after the other, which costs more in every change."""
    with Clients(edge, pause=0.002) as clients:
        for _ in range(20):
            for wanted in (split((FIRST, 30), (SECOND, 70)), split((SECOND, 100))):
                assert until(partial(edge.routes.apply, [wanted]), "the route", pause=0.05)
                time.sleep(0.3)
    assert clients.faults == []
    assert clients.answers.total() > 2000


def test_a_route_without_a_gateway_is_told_as_a_trouble(edge: Edge) -> None:
    elsewhere = edge.routes._config.model_copy(
        update={"gateway": GatewayRef(name="none", namespace=PROXIES), "instance": "x"}
    )
    routes = GatewayRoutes(edge.routes._kube, elsewhere, lambda _: None)
    other = replace(edge.split, model="other")
    assert not routes.apply([other])
    assert "the Gateway envoy-gateway-system/none has not answered" in routes.troubles["other"]
    routes.apply([])
    assert edge.kubectl.items("httproutes", "--selector=app.kubernetes.io/instance=x") == []


def test_no_request_is_lost_while_weights_change_and_versions_come_roll_and_go(edge: Edge) -> None:
    edge.apply(split((FIRST, 100)))
    with Clients(edge) as clients:
        for weight in (20, 50, 80):
            edge.apply(split((FIRST, 100 - weight), (SECOND, weight)))
            time.sleep(2)
        edge.kubectl("rollout", "restart", "deployment/cats-dogs-v1")
        edge.kubectl("rollout", "status", "deployment/cats-dogs-v1", "--timeout=120s")
        time.sleep(8)  # the old pod has ended
        edge.apply(split((Arm(0, 0, 2), 100)))
        began = time.monotonic()
        until(lambda: edge.routes.unused("cats_dogs", 1), "version 1 unused")
        assert time.monotonic() - began >= SETTLE_SECONDS
        assert not edge.routes.unused("cats_dogs", 3), "what it sees leave only now may still be asked"
        edge.kubectl("delete", "deployment/cats-dogs-v1", "service/cats-dogs-v1")
        time.sleep(8)
        edge.kubectl.apply(*echo("cats-dogs-v1"))
        edge.kubectl("rollout", "status", "deployment/cats-dogs-v1", "--timeout=120s")
        edge.apply(split((FIRST, 50), (SECOND, 50)))
        time.sleep(2)
    assert clients.faults == []
    assert min(clients.answers["cats-dogs-v1"], clients.answers["cats-dogs-v2"]) > 100


def test_another_proxy_process_counts_under_another_name(edge: Edge) -> None:
    before = set(edge.routes.counters())
    assert before
    assert before == set(edge.routes.counters())
    owner = f"gateway.envoyproxy.io/owning-gateway-namespace={edge.kubectl.namespace}"
    edge.kubectl.within(PROXIES)("delete", "pods", f"--selector={owner}", "--wait=false")
    until(lambda: set(edge.routes.counters()) - before, "the new proxy's counters")
