"""The platform on a cluster: Model resources in, the reconcile loop in the middle, statuses and Events out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import Engine

from canari.kube import ApiError, Kube
from canari.launch.cluster_config import ClusterConfig
from canari.launch.kubernetes import KubernetesLauncher
from canari.launch.launcher import State
from canari.objects import GATEWAY, MODEL, Manifest, OwnerReference, differences
from canari.store import decisions, hours
from canari.store.hours import Summary
from canari.store.migrate import ensure_partitions
from canari.traffic.gateway_api import GatewayRoutes
from services.controller.events import decision_event, event
from services.controller.loop import Observed, Reconciler
from services.controller.projection import Facts, barred, cannot_wait, status_of, told
from services.controller.resources import Resource, read_resource

Owners = Callable[[str], OwnerReference | None]
_DAY = timedelta(days=1)
_FACTS_SECONDS = 30.0
_FIGURES_SECONDS = 10.0
_HOUSEKEEPING_SECONDS = 3600.0
# No transaction of the platform lasts as long: a decision that is older has been seen with all before it.
_SETTLED = timedelta(minutes=2)


@dataclass(frozen=True)
class _Act:
    model: str
    reason: str
    note: str
    at: datetime


class ClusterController:
    """Everything one tick does. What it keeps between ticks only saves work: a new one continues where this one ends.

    `routes(owner)` makes the split, given who owns a model's route. `instance` names this process in Events.
    """

    def __init__(
        self,
        kube: Kube,
        config: ClusterConfig,
        engine: Engine,
        *,
        public_key: str,
        token: Callable[[str, int], tuple[str, datetime]],
        routes: Callable[[Owners], GatewayRoutes],
        instance: str,
    ) -> None:
        self._kube = kube
        self._config = config
        self._engine = engine
        self._instance = instance
        self._resources: dict[str, Resource] = {}
        self._launcher = KubernetesLauncher(
            kube, config, owner=self._owner, public_key=public_key, token=token, tell=self._note
        )
        self._routes = routes(self._owner)
        self._reconciler = Reconciler(engine, self._launcher, self._routes)
        self._acts: list[_Act] = []
        self._told: set[int] = set()
        self._told_up_to = 0
        self._facts_at = self._housekeeping_at = float("-inf")
        self._satisfaction: dict[str, str | None] = {}
        self._urls: str | None = None
        self._barred: dict[int, float] = {}
        self._projected_at: dict[str, float] = {}

    def tick(self) -> list[Observed]:
        """One round. Raises CanariError or SQLAlchemyError where the cluster or the database is away."""
        self._keep_house()
        found = [read_resource(m) for m in self._kube.list(MODEL) if "deletionTimestamp" not in m["metadata"]]
        self._resources = {resource.model: resource for resource in found}
        self._reconciler.register([resource.spec for resource in found if resource.spec is not None])
        self._launcher.observe()
        observed = self._reconciler.tick(self._resources)
        self._tell_acts()
        self._tell_decisions()
        self._project(observed)
        return observed

    def _owner(self, model: str) -> OwnerReference | None:
        resource = self._resources.get(model)
        return resource.reference if resource else None

    def _note(self, model: str, reason: str, note: str) -> None:
        self._acts.append(_Act(model, reason, note, datetime.now(UTC)))

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now >= self._housekeeping_at + _HOUSEKEEPING_SECONDS:
            ensure_partitions(self._engine, datetime.now(UTC))
            self._housekeeping_at = now

    def _tell_acts(self) -> None:
        acts, self._acts = self._acts, []
        for act in acts:
            if resource := self._resources.get(act.model):
                key = uuid4().hex[:12]
                self._tell(event(resource, key, act.reason, act.note, at=act.at, instance=self._instance))

    def _tell_decisions(self) -> None:
        now = datetime.now(UTC)
        for made in decisions.recent(self._engine, list(self._resources), since=now - _DAY, after=self._told_up_to):
            resource = self._resources[made.model]
            if made.id not in self._told and made.created_at >= resource.created_at:
                self._tell(decision_event(resource, made, self._instance))
            self._told.add(made.id)
            if made.created_at < now - _SETTLED:
                self._told_up_to = made.id
        self._told = {number for number in self._told if number > self._told_up_to}

    def _tell(self, manifest: Manifest) -> None:
        try:
            self._kube.create(manifest)
        except ApiError as error:
            # It has been told before, by this controller or by the one before it.
            if error.status != 409:
                raise

    def _project(self, observed: Sequence[Observed]) -> None:
        seen = {one.model: one for one in observed}
        newest = decisions.newest(self._engine)
        barred_seconds = self._barred_seconds(observed)
        self._refresh_facts()
        for model, resource in self._resources.items():
            one = seen.get(model)
            facts = Facts(
                last=newest.get(model),
                satisfaction=self._satisfaction.get(model),
                url=f"{self._urls}/api/{model}/predict" if self._urls else None,
                troubles=self._troubles(model, one.states if one else {}),
                route_trouble=self._routes.troubles.get(model),
                barred_seconds=barred_seconds.get(model, 0.0),
            )
            self._write(resource, status_of(resource, one, facts, datetime.now(UTC)))

    def _write(self, resource: Resource, status: Manifest) -> None:
        now = time.monotonic()
        waited = now - self._projected_at.get(resource.model, float("-inf"))
        if not differences(resource.status, status):
            return
        if waited < _FIGURES_SECONDS and not cannot_wait(resource.status, status):
            return
        for reason, note, warning in told(resource.status, status):
            key, at = f"{reason.lower()}-{resource.version}", datetime.now(UTC)
            self._tell(event(resource, key, reason, note, at=at, instance=self._instance, warning=warning))
        self._kube.patch_status(MODEL, resource.name, status)
        self._projected_at[resource.model] = now

    def _barred_seconds(self, observed: Sequence[Observed]) -> dict[str, float]:
        """How long each model's open rollout has been kept from going on, where it is."""
        now = time.monotonic()
        rollouts = {one.model: one.rollout.id for one in observed if one.rollout is not None and barred(one)}
        self._barred = {rollout: self._barred.get(rollout, now) for rollout in rollouts.values()}
        return {model: now - self._barred[rollout] for model, rollout in rollouts.items()}

    def _troubles(self, model: str, states: Mapping[int, State]) -> dict[int, str]:
        troubles = {number: self._launcher.trouble(model, number) for number in states}
        return {number: trouble for number, trouble in troubles.items() if trouble}

    def _refresh_facts(self) -> None:
        """Read what costs more than a tick may, or changes seldom."""
        now = time.monotonic()
        if now < self._facts_at + _FACTS_SECONDS and self._satisfaction.keys() == self._resources.keys():
            return
        self._facts_at = now
        said = hours.summaries(self._engine, datetime.now(UTC))
        self._satisfaction = {model: _satisfaction(said.get(model, [])) for model in self._resources}
        gateway = self._config.gateway
        self._urls = gateway_url(self._kube.get(GATEWAY, gateway.name, namespace=gateway.namespace))


def _satisfaction(summaries: Sequence[Summary]) -> str | None:
    votes = sum(one.n for one in summaries)
    return f"{100 * sum(one.satisfied for one in summaries) / votes:.0f} %" if votes else None


def gateway_url(gateway: Manifest | None) -> str | None:
    """Where clients reach a Gateway: its first listener, at its host name or its first address."""
    if gateway is None:
        return None
    listener = gateway["spec"]["listeners"][0]
    addresses = gateway.get("status", {}).get("addresses", [])
    host = listener.get("hostname") or next((address["value"] for address in addresses), None)
    if host is None:
        return None
    scheme = "https" if listener["protocol"] == "HTTPS" else "http"
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{host}" + ("" if listener["port"] == usual else f":{listener['port']}")
