"""The platform itself: jobs, what is on its way, the database, the gateway, the services and pods."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards import parts
from monitoring.dashboards.parts import BYTES, COUNT, GOOD_WHEN_ZERO, RATE, SECONDS, Prom, Sql, Steps

_CLIENTS = 'envoy_http_conn_manager_prefix=~"https?-.+"'


def dashboard() -> Dashboard:
    """The page of the platform's own parts."""
    return parts.board(
        "platform",
        "Canari: platform · plateforme",
        "What the models stand on: jobs, predictions on their way, the database, the gateway and the services.",
        [],
        [
            (4, _numbers()),
            "Jobs · Tâches",
            (8, [(8, _successes()), (8, _jobs()), (8, _running())]),
            (9, [(24, _job_rows())]),
            "Database and recorder · Base de données et enregistreur",
            (8, [(8, _spool()), (8, _lost()), (8, _tables())]),
            "Gateway · Passerelle",
            (8, [(8, _answers()), (8, _gateway_latency()), (8, _upstream())]),
            "Services and pods · Services et pods",
            (8, [(8, _service_requests()), (8, _service_latency()), (8, _rounds())]),
            (8, [(16, _targets()), (8, _volumes())]),
        ],
    )


def _numbers() -> list[tuple[int, parts.Panel]]:
    def one(title: str, description: str, expr: str, unit: str = COUNT, steps: Steps = GOOD_WHEN_ZERO) -> parts.Panel:
        return parts.number(title, description, Prom(expr), unit=unit, steps=steps)

    up = Steps("red", {1: "green"})
    panels = [
        one(
            "Database · Base",
            "1 while PostgreSQL answers.",
            "min(max by (namespace) (canari_database_up))",
            steps=up,
        ),
        one(
            "Controller · Contrôleur",
            "Controllers that act; one should.",
            "sum(canari_controller_leader)",
            steps=up,
        ),
        one(
            "Failed jobs · Échecs",
            "Within the last day.",
            'sum(max by (kind) (canari_jobs{state="failed"}))',
        ),
        one(
            "Overdue · En retard",
            "Inputs that are kept longer than a data policy allows.",
            "max(canari_inputs_overdue)",
        ),
        one("Erasures · Effacements", "Asked for, and not done yet.", "max(canari_erasures_open)"),
        one(
            "Certificate · Certificat",
            "Until the first of the gateway's certificates expires.",
            "min(envoy_listener_ssl_certificate_expiration_unix_time_seconds) - time()",
            SECONDS,
            Steps("red", {14 * 86400: "orange", 30 * 86400: "green"}),
        ),
    ]
    return [(4, panel) for panel in panels]


def _successes() -> parts.Panel:
    return parts.curves(
        "Since a success · Depuis un succès",
        "How long ago each kind of job last ended well.",
        Prom("time() - max by (kind) (canari_job_last_success_timestamp_seconds)", "{{kind}}"),
        unit=SECONDS,
    )


def _jobs() -> parts.Panel:
    return parts.curves(
        "Jobs by state · Tâches par état",
        "Jobs that wait, that run, and that failed within the last day.",
        Prom("max by (kind, state) (canari_jobs)", "{{kind}}: {{state}}"),
    )


def _running() -> parts.Panel:
    return parts.curves(
        "Running for · En cours depuis",
        "How long the oldest running job of each kind has been at work.",
        Prom("max by (kind) (canari_job_running_seconds)", "{{kind}}"),
        unit=SECONDS,
    )


def _job_rows() -> parts.Panel:
    return parts.rows(
        "Newest jobs · Dernières tâches",
        "What was asked for, by whom and why, and what came of it.",
        Sql("""
            SELECT id, kind, model, state, progress ->> 'stage' AS stage, attempts, asked_by, reason, created_at,
                   extract(epoch FROM coalesce(ended_at, now()) - started_at)::float8 AS took, error
            FROM jobs ORDER BY id DESC LIMIT 100
        """),
        columns={"took": {"unit": SECONDS, "decimals": 0}, "reason": {"custom.width": 420}},
    )


def _spool() -> parts.Panel:
    return parts.curves(
        "Predictions on their way · En route",
        "Recorded by a version, and not yet with the feedback API.",
        Prom("sum by (model, version) (canari_recorder_spool_bytes)", "{{model}} v{{version}}"),
        unit=BYTES,
    )


def _lost() -> parts.Panel:
    return parts.curves(
        "Predictions lost · Perdues",
        "Made, and not arrived: by the recorders' own count of an hour, and by what the store misses.",
        Prom(
            "sum by (model, version) (increase(canari_recorder_lost_rows_total[1h]))",
            "{{model}} v{{version}}: recorder",
        ),
        Prom("max by (model, version) (canari_predictions_lost)", "{{model}} v{{version}}: store"),
    )


def _tables() -> parts.Panel:
    return parts.rows(
        "Largest tables · Plus grandes tables",
        "On disk, with their indexes; a table of many partitions counts as one.",
        Sql("""
            SELECT coalesce(parent.relname, own.relname) AS "table",
                   sum(pg_total_relation_size(own.oid))::float8 AS size
            FROM pg_class own
            LEFT JOIN pg_inherits part ON part.inhrelid = own.oid
            LEFT JOIN pg_class parent ON parent.oid = part.inhparent
            WHERE own.relkind = 'r' AND own.relnamespace = 'public'::regnamespace
            GROUP BY 1 ORDER BY 2 DESC LIMIT 12
        """),
        columns={"size": {"unit": BYTES}},
    )


def _answers() -> parts.Panel:
    return parts.curves(
        "Answers to clients · Réponses aux clients",
        "What clients get from the gateway, by class of status.",
        Prom(
            f"sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{{{_CLIENTS}}}[$__rate_interval]))",
            "{{envoy_response_code_class}}xx",
        ),
        unit=RATE,
        stacked=True,
    )


def _gateway_latency() -> parts.Panel:
    def quantile(q: float) -> Prom:
        rate = f"rate(envoy_http_downstream_rq_time_bucket{{{_CLIENTS}}}[$__rate_interval])"
        return Prom(f"histogram_quantile({q}, sum by (le) ({rate}))", f"p{100 * q:.0f}")

    return parts.curves(
        "Gateway: time to answer · Temps de réponse",
        "From a request's arrival at the gateway to the end of its answer.",
        quantile(0.5),
        quantile(0.99),
        unit="ms",
    )


def _upstream() -> parts.Panel:
    def rate(metric: str, legend: str) -> Prom:
        return Prom(f"sum(rate({metric}[$__rate_interval]))", legend)

    return parts.curves(
        "Behind the gateway · Derrière la passerelle",
        "Attempts that were made again, that took too long, and connections that failed.",
        rate("envoy_cluster_upstream_rq_retry", "retries"),
        rate("envoy_cluster_upstream_rq_timeout", "timeouts"),
        rate("envoy_cluster_upstream_cx_connect_fail", "connections"),
        unit=RATE,
    )


def _service_requests() -> parts.Panel:
    return parts.curves(
        "Services: requests · Requêtes",
        "Answers per second of the feedback API, the portal and the fetcher; those of status 500 and above apart.",
        Prom("sum by (service) (rate(canari_http_requests_total[$__rate_interval]))", "{{service}}"),
        Prom(
            'sum by (service) (rate(canari_http_requests_total{status=~"5.."}[$__rate_interval]))',
            "{{service}}: errors",
        ),
        unit=RATE,
    )


def _service_latency() -> parts.Panel:
    rate = "sum by (le, service) (rate(canari_http_request_seconds_bucket[$__rate_interval]))"
    return parts.curves(
        "Services: time (p99) · Temps de réponse",
        "99 of 100 answers are quicker.",
        Prom(f"histogram_quantile(0.99, {rate})", "{{service}}"),
        unit=SECONDS,
    )


def _rounds() -> parts.Panel:
    return parts.curves(
        "Controller: a round (p95) · Un tour",
        "How long the controller takes to see what is, and to change what is not as it should be.",
        Prom(
            "histogram_quantile(0.95, sum by (le) (rate(canari_controller_tick_seconds_bucket[$__rate_interval])))",
            "p95",
        ),
        unit=SECONDS,
    )


def _targets() -> parts.Panel:
    return parts.states(
        "What tells its metrics · Ce qui répond",
        "Every pod that Prometheus reads: red while it does not answer.",
        Prom('min by (job, pod) (up{job=~"canari-.+"})', "{{job}} {{pod}}"),
        mapped={0: ("away · absent", "red"), 1: ("answers · répond", "green")},
    )


def _volumes() -> parts.Panel:
    claims = "kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes"
    return parts.curves(
        "Free space · Espace libre",
        "Of the data folder, and of claims where kubelets are read. Dashed: where an alert tells.",
        Prom("min by (volume) (canari_volume_free_bytes / canari_volume_size_bytes)", "{{volume}}"),
        Prom(f"min by (persistentvolumeclaim) ({claims})", "{{persistentvolumeclaim}}"),
        Prom("vector(0.1)", parts.THRESHOLD),
        unit=parts.SHARE,
        most=1,
    )
