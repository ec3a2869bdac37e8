"""Alerts, what Prometheus reads, and who is told. Needs `promtool` and `helm` on the path, and no cluster."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from sqlalchemy import create_engine

from canari.runtime.metrics import Metrics
from canari.settings import Settings
from services.controller.health import Health
from services.feedback import loop_metrics
from services.feedback.metrics import StoreCollector
from services.feedback.volumes import VolumeCollector
from services.web.requests import RequestMetrics
from tests.chart.rendering import Manifest, helm, manifests, named, pods
from tests.conftest import ROOT

MONITORING = ROOT / "monitoring"
GUIDE = ROOT / "docs" / "how-to" / "monitor.md"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
NAME = re.compile(r"\b(?:canari|envoy)_[a-z_]+\b")


def promtool(*arguments: object, folder: Path = MONITORING) -> str:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alert(file: Path) -> dict[str, Any]:
    [group] = yaml.safe_load(file.read_text())["groups"]
    [rule] = group["rules"]
    return dict(rule)


def bundled() -> dict[str, str]:
    found = manifests("monitoring bundled")
    return {**named(found, "ConfigMap", "canari-prometheus")["data"]}


def test_rules_are_sound_and_hold_what_their_tests_say() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    tests = sorted((MONITORING / "tests").glob("*.yaml"))
    assert [test.name for test in tests] == [rule.name for rule in RULES]
    promtool("test", "rules", *tests, folder=MONITORING / "tests")


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_an_alert_stands_alone_tells_what_to_do_and_is_seen_to_fire_and_to_be_silent(file: Path) -> None:
    rule = alert(file)
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    runbook = (ROOT / rule["annotations"]["runbook_url"]).read_text()
    assert runbook.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.+)$", runbook, re.MULTILINE) == ["Look", "Do", "Silence"]
    cases = yaml.safe_load((MONITORING / "tests" / file.name).read_text())["tests"]
    expected = [bool(case.get("exp_alerts")) for one in cases for case in one["alert_rule_test"]]
    assert set(expected) == {True, False}


def test_the_list_of_alerts_is_whole() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\.\./(runbooks/\S+)\) \| (\w+) \| .+ \|$", GUIDE.read_text(), re.MULTILINE)
    rules = [alert(file) for file in RULES]
    assert sorted(listed) == sorted(
        (rule["alert"], rule["annotations"]["runbook_url"].removeprefix("docs/"), rule["labels"]["severity"])
        for rule in rules
    )
    assert {f"{file.stem}.md" for file in RULES} == {file.name for file in (ROOT / "docs" / "runbooks").glob("*.md")}


def test_alerts_and_dashboards_name_only_metrics_that_something_tells(tmp_path: Path) -> None:
    nowhere = create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none")
    own = [RequestMetrics("feedback").registry, Health().registry]
    own[0].register(StoreCollector(nowhere))
    own[0].register(VolumeCollector(tmp_path))
    told = (Metrics("cats_dogs", 1).expose() + b"".join(map(generate_latest, own))).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", told, re.MULTILINE))
    names = {f"{name}{'_bucket' * (kind == 'histogram')}" for name, kind in kinds.items()} | set(loop_metrics._GAUGES)
    kept = re.compile(_scraped("canari-gateway")["metric_relabel_configs"][0]["regex"])
    sources = [*RULES, *(MONITORING / "grafana" / "dashboards").glob("*.json")]
    used = {name for file in sources for name in NAME.findall(file.read_text())} - {
        # Labels of Envoy's.
        "envoy_response_code_class",
        "envoy_http_conn_manager_prefix",
        "envoy_tls_certificate",
    }
    assert {name for name in used if name.startswith("canari_")} <= names
    assert all(kept.fullmatch(name) for name in used if name.startswith("envoy_"))


def _scraped(job: str) -> dict[str, Any]:
    jobs = yaml.safe_load(bundled()["prometheus.yml"])["scrape_configs"]
    return next(one for one in jobs if one["job_name"] == job)


def test_prometheus_takes_its_configuration_with_and_without_alertmanager(tmp_path: Path) -> None:
    without = helm(
        *("template", "canari", str(ROOT / "helm" / "canari"), "--set=monitoring.prometheus.enabled=true"),
        "--show-only=templates/monitoring/prometheus-configmap.yaml",
    )
    for data in (bundled(), yaml.safe_load(without)["data"]):
        for name, text in data.items():
            (tmp_path / name).write_text(text)
        promtool("check", "config", "--syntax-only", "prometheus.yml", folder=tmp_path)
        promtool("check", "rules", "canari.yaml", folder=tmp_path)
    assert "alerting" not in yaml.safe_load((tmp_path / "prometheus.yml").read_text())


def test_prometheus_may_list_pods_in_two_namespaces_and_do_nothing_else() -> None:
    found = [m for m in manifests("monitoring bundled") if m["metadata"]["name"].endswith("-prometheus")]
    roles = {m["metadata"]["namespace"]: m["rules"] for m in found if m["kind"] == "Role"}
    reading = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    assert roles == {"canari": reading, "envoy-gateway-system": reading}
    only_prometheus = manifests("default", "--set=monitoring.prometheus.enabled=true")
    assert [m for m in only_prometheus if m["kind"].startswith("Cluster")] == []


def test_with_the_kubelets_prometheus_may_also_read_the_nodes_metrics() -> None:
    found = manifests("monitoring bundled")
    [role] = [m for m in found if m["kind"] == "ClusterRole"]
    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["nodes"], ["get", "list", "watch"]),
        (["nodes/metrics"], ["get"]),
    ]
    [binding] = [m for m in found if m["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "canari-prometheus", "namespace": "canari"}]
    kept = re.compile(_scraped("canari-kubelet")["metric_relabel_configs"][0]["regex"])
    assert kept.fullmatch("kubelet_volume_stats_available_bytes;canari")
    assert not kept.fullmatch("kubelet_volume_stats_available_bytes;other")


@pytest.mark.parametrize("kind", ["health", "evaluate", "retrain", "retention"])
def test_watchers_elsewhere_are_told_by_whom_they_are_told_of(kind: str) -> None:
    found = manifests("monitoring bundled")
    component = "controller" if kind == "health" else kind
    [pod] = [pod for _, pod in pods(found) if pod["metadata"]["labels"].get("app.kubernetes.io/component") == component]
    told = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in pod["spec"]["containers"][0]["env"]
        if "HEARTBEAT" in one["name"]
    }
    secret = {"name": "watchers", "key": f"{kind}-url", "optional": True}
    assert told == {f"CANARI_HEARTBEAT_{kind.upper()}_URL": secret}
    assert f"heartbeat_{kind}_url" in Settings.model_fields
    policy = named(found, "NetworkPolicy", f"canari-{component}-heartbeat")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
    assert policy["egress"][-1] == {"ports": [{"port": 3001, "protocol": "TCP"}]}


def test_the_operator_gets_the_same_alerts_and_reads_the_same_pods() -> None:
    found = manifests("monitoring operator")
    rule = named(found, "PrometheusRule", "canari")
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    alerts = [rule["alert"] for group in rule["spec"]["groups"] for rule in group["rules"]]
    assert alerts == [alert(file)["alert"] for file in RULES]
    monitor = named(found, "PodMonitor", "canari")
    [expression] = monitor["spec"]["selector"]["matchExpressions"]
    kept = next(step for step in _scraped("canari")["relabel_configs"] if step["action"] == "keep")
    assert kept["regex"] == f"({'|'.join(expression['values'])});http"


def test_runbooks_are_found_where_the_documentation_is() -> None:
    groups = yaml.safe_load(bundled()["canari.yaml"])["groups"]
    addresses = {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]}
    assert addresses == {f"https://example.com/canari/docs/runbooks/{file.stem}.md" for file in RULES}


def test_each_severity_has_its_receivers_and_their_secrets_are_files() -> None:
    found = manifests("monitoring bundled")
    config = yaml.safe_load(named(found, "ConfigMap", "canari-alertmanager")["data"]["alertmanager.yml"])
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    assert (
        {route["receiver"] for route in _routes(config["route"])} == {"info", "warning", "critical"} == set(receivers)
    )
    for receiver in receivers.values():
        assert receiver["webhook_configs"][0]["url"] == "https://alerts.example/hook"
        assert receiver["slack_configs"][0]["api_url_file"] == "/etc/alertmanager-secrets/discord-url"
    assert {name for name, receiver in receivers.items() if "email_configs" in receiver} == {"warning", "critical"}
    mail = receivers["critical"]["email_configs"][0]
    assert mail["auth_password_file"] == "/etc/alertmanager-secrets/email-password"
    assert mail["require_tls"] is True
    deployment = named(found, "Deployment", "canari-alertmanager")["spec"]["template"]["spec"]
    [volume] = [volume for volume in deployment["volumes"] if volume["name"] == "secrets"]
    assert volume["secret"]["secretName"] == "receivers"
    silenced = {rule["target_matchers"][0] for rule in config["inhibit_rules"]}
    known = {alert(file)["alert"] for file in RULES}
    assert {name for matcher in silenced for name in re.findall(r"Canari\w+", matcher)} <= known


def _routes(route: Manifest) -> list[Manifest]:
    return [route, *(inner for part in route.get("routes", []) for inner in _routes(part))]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["monitoring.grafana.enabled=true"], "Grafana has no Prometheus to read"),
        (["monitoring.alertmanager.discord=true"], "existingSecret"),
        (["monitoring.alertmanager.email.to=a@example.com"], "mail needs a sender and a server"),
        (["monitoring.prometheus.retention=long"], "retention"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(options: list[str], said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm("template", "canari", str(ROOT / "helm" / "canari"), *(f"--set={option}" for option in options))
    assert said in refused.value.stderr
