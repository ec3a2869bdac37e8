"""Which alert reaches whom: a real Alertmanager, as the chart makes it, and a pod that plays Discord and a mail server.

Its clock is quicker than in life, and nothing else differs.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.cluster import receiver
from tests.cluster.tools import Kubectl, command, until
from tests.conftest import ROOT

RULES = sorted((ROOT / "monitoring" / "rules").glob("*.yaml"))
# From a pod: kubectl itself says of nothing that it is JSON.
_POST = """
import sys, urllib.request
headers = {"Content-Type": "application/json"}
url = "http://canari-alertmanager:9093/api/v2/alerts"
urllib.request.urlopen(urllib.request.Request(url, sys.stdin.buffer.read(), headers))
"""
# What the file says, and what stands for it here. The times not named are longer than these tests.
QUICKER = {"30s": "1s", "10s": "1s", "5m": "2s", "2h": "6s"}
VALUES = {
    "monitoring": {
        "docsUrl": "https://docs.example",
        "alertmanager": {
            "enabled": True,
            "discord": True,
            "webhookUrl": f"http://receiver:{receiver.HTTP}/hook",
            "email": {
                "to": "people@example.com",
                "from": "canari@example.com",
                "smarthost": f"receiver:{receiver.SMTP}",
                "requireTls": False,
            },
            "existingSecret": "receivers",
        },
    }
}


@dataclass(frozen=True)
class Alertmanager:
    """The one under test, spoken to through the API server."""

    kubectl: Kubectl

    def tell(self, *alerts: dict[str, str], over: bool = False) -> None:
        """Tell of alerts, as Prometheus does: labels and annotations, and whether they are over."""
        now = datetime.now(UTC)
        ends = now if over else now + timedelta(hours=1)
        body = [
            {
                "labels": {key: value for key, value in alert.items() if key not in {"summary", "description", "url"}},
                "annotations": {
                    "summary": alert.get("summary", alert["alertname"]),
                    "description": alert.get("description", "What it means."),
                    "runbook_url": alert.get("url", "https://docs.example/runbooks/it.md"),
                },
                "startsAt": (now - timedelta(minutes=5)).isoformat(),
                "endsAt": ends.isoformat(),
            }
            for alert in alerts
        ]
        self.kubectl("exec", "--stdin", "receiver", "--", "python", "-c", _POST, given=json.dumps(body))

    def read(self, path: str) -> str:
        return self.kubectl("get", "--raw", self._path(path))

    def told(self, mark: str, way: str) -> list[dict[str, Any]]:
        """What the receiver got by a way, of what bears a mark."""
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/services/receiver:{receiver.HTTP}/proxy/told"
        kept = json.loads(self.kubectl("get", "--raw", path))
        return [one for one in kept if one["way"] == way and mark in json.dumps(one)]

    def awaited(self, mark: str, way: str, least: int = 1) -> list[dict[str, Any]]:
        """What the receiver got, once it is enough."""
        return until(
            lambda: found if len(found := self.told(mark, way)) >= least else None, f"{way} of {mark}", seconds=30
        )

    def _path(self, path: str) -> str:
        return f"/api/v1/namespaces/{self.kubectl.namespace}/services/canari-alertmanager:9093/proxy/{path}"


def rendered(folder: Path) -> list[dict[str, Any]]:
    """The chart's Alertmanager: its objects, with a quicker clock."""
    values = folder / "values.yaml"
    values.write_text(json.dumps(VALUES))
    text = command("helm", "template", "canari", str(ROOT / "helm" / "canari"), "--values", str(values))
    found = [
        document
        for document in yaml.safe_load_all(text)
        if document and document["metadata"]["name"] == "canari-alertmanager" and document["kind"] != "NetworkPolicy"
    ]
    [config] = [one for one in found if one["kind"] == "ConfigMap"]
    settings = yaml.safe_load(config["data"]["alertmanager.yml"])
    for route in (settings["route"], *settings["route"]["routes"]):
        route.update(
            {
                key: QUICKER[value]
                for key, value in route.items()
                if key.endswith(("wait", "interval")) and value in QUICKER
            }
        )
    config["data"]["alertmanager.yml"] = yaml.safe_dump(settings)
    for one in found:
        one["metadata"].pop("namespace", None)
    return found


@pytest.fixture(scope="module")
def alertmanager(namespace: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Alertmanager:
    discord = f"http://receiver:{receiver.HTTP}/api/webhooks/1/the-secret/slack"
    namespace("create", "secret", "generic", "receivers", f"--from-literal=discord-url={discord}")
    namespace.apply(*receiver.manifests(), *rendered(tmp_path_factory.mktemp("values")))
    namespace("wait", "--for=condition=Ready", "pod/receiver", "--timeout=120s", seconds=150)
    namespace("rollout", "status", "deployment/canari-alertmanager", "--timeout=120s", seconds=150)
    return Alertmanager(namespace)


@pytest.fixture
def mark() -> str:
    """What tells one test's alerts from another's: their namespace."""
    return f"ns-{uuid4().hex[:8]}"


def test_every_alert_reaches_discord_and_the_webhook_and_those_that_need_someone_mail(
    alertmanager: Alertmanager, mark: str
) -> None:
    rules = [group["rules"][0] for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    names = {rule["alert"]: rule["labels"]["severity"] for rule in rules}
    assert set(names.values()) == {"info", "warning", "critical"}
    # Each in a namespace of its own: none of them follows from another.
    alertmanager.tell(
        *(
            {"alertname": name, "severity": severity, "namespace": f"{mark}-{name}", "summary": f"{mark}-{name}-end"}
            for name, severity in names.items()
        )
    )
    subjects = {f"[Canari] {severity}: {mark}-{name}-end" for name, severity in names.items() if severity != "info"}
    until(lambda: _named(names, mark, alertmanager.told(mark, "discord")) == set(names), "each alert on Discord")
    until(lambda: _named(names, mark, alertmanager.told(mark, "webhook")) == set(names), "each alert by webhook")
    until(
        lambda: {mail["title"] for mail in alertmanager.told(mark, "mail")} == subjects, "mail of those and no others"
    )
    assert {to for mail in alertmanager.told(mark, "mail") for to in mail["to"]} == {"people@example.com"}


def _named(names: Collection[str], mark: str, told: list[dict[str, Any]]) -> set[str]:
    text = json.dumps(told)
    return {name for name in names if f"{mark}-{name}-end" in text}


def test_a_message_says_what_is_wrong_with_which_model_and_where_to_read_on(
    alertmanager: Alertmanager, mark: str
) -> None:
    alertmanager.tell(
        {
            "alertname": "CanariServingErrors",
            "severity": "critical",
            "namespace": mark,
            "model": "cats_dogs",
            "summary": f"{mark}: 20% of the answers are errors",
            "description": "More than 5 % fails.",
            "url": "https://docs.example/runbooks/serving-errors.md",
        }
    )
    message = alertmanager.awaited(mark, "discord")[0]
    assert message["title"] == "CRITICAL: cats_dogs"
    assert message["text"].splitlines() == [
        f"**{mark}: 20% of the answers are errors**",
        "More than 5 % fails.",
        "https://docs.example/runbooks/serving-errors.md",
    ]


def test_what_happens_to_one_model_at_once_is_one_message(alertmanager: Alertmanager, mark: str) -> None:
    common = {"severity": "warning", "namespace": mark}
    alertmanager.tell(
        {**common, "alertname": "CanariSatisfactionLow", "model": "cats_dogs"},
        {**common, "alertname": "CanariDrift", "model": "cats_dogs"},
        {**common, "alertname": "CanariDrift", "model": "mushrooms"},
    )
    webhook = alertmanager.awaited(mark, "webhook", 2)
    together = {
        (one["body"]["groupLabels"]["model"], *sorted(alert["labels"]["alertname"] for alert in one["body"]["alerts"]))
        for one in webhook
    }
    assert together == {("cats_dogs", "CanariDrift", "CanariSatisfactionLow"), ("mushrooms", "CanariDrift")}


def test_what_follows_from_another_trouble_is_not_told_where_that_trouble_is(
    alertmanager: Alertmanager, mark: str
) -> None:
    critical, warning = {"severity": "critical"}, {"severity": "warning"}
    alertmanager.tell(
        {**critical, "alertname": "CanariDatabaseAway", "namespace": mark},
        {**critical, "alertname": "CanariControllerNotTicking", "namespace": mark},
        {**warning, "alertname": "CanariRetentionLate", "namespace": mark},
        {**warning, "alertname": "CanariDrift", "namespace": mark, "model": "drift"},
        {**critical, "alertname": "CanariControllerNotTicking", "namespace": f"{mark}-other"},
    )
    alertmanager.awaited("CanariDrift", "discord")
    alertmanager.awaited(f"{mark}-other", "webhook")
    alertmanager.awaited("CanariDatabaseAway", "discord")
    told = {
        (alert["labels"]["alertname"], alert["labels"]["namespace"])
        for one in alertmanager.told(mark, "webhook")
        for alert in one["body"]["alerts"]
    }
    assert told == {
        ("CanariDatabaseAway", mark),
        ("CanariDrift", mark),
        ("CanariControllerNotTicking", f"{mark}-other"),
    }


def test_the_end_of_an_alert_is_told(alertmanager: Alertmanager, mark: str) -> None:
    alert = {
        "alertname": "CanariDrift",
        "severity": "warning",
        "namespace": mark,
        "model": "m",
        "summary": f"{mark} moved",
    }
    alertmanager.tell(alert)
    alertmanager.awaited(mark, "discord")
    alertmanager.tell(alert, over=True)
    last = alertmanager.awaited(mark, "discord", 2)[-1]
    assert (last["title"], last["text"].strip()) == ("RESOLVED: m", f"Over: **{mark} moved**")
    assert alertmanager.awaited(mark, "mail", 2)[-1]["title"] == f"[Canari] resolved: {mark} moved"


def test_a_critical_alert_is_told_again_and_a_warning_is_not(alertmanager: Alertmanager, mark: str) -> None:
    common = {"namespace": mark, "alertname": "CanariTest"}
    alertmanager.tell(*({**common, "severity": s, "summary": f"{mark}-{s}"} for s in ("critical", "warning", "info")))
    alertmanager.awaited(f"{mark}-critical", "discord", 3)
    assert len(alertmanager.told(f"{mark}-warning", "discord")) == 1
    assert len(alertmanager.told(f"{mark}-info", "discord")) == 1


def test_the_secret_stays_in_its_file_and_what_fails_is_counted(alertmanager: Alertmanager) -> None:
    assert "the-secret" not in alertmanager.read("api/v2/status")
    counted = alertmanager.read("metrics")
    for integration in ("slack", "email", "webhook"):
        assert f'alertmanager_notifications_failed_total{{integration="{integration}"' in counted
