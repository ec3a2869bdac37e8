"""What Envoy itself counted of each arm, read from its statistics in Prometheus' text format. Pure.

https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats
"""

from __future__ import annotations

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from canari.observations import Counts

_CLUSTER = "envoy_cluster_name"
# The statistics `parse` looks at, by the names Envoy's `filter` sees.
_STATISTICS = (
    r"upstream_(rq_(completed|\dxx|429|timeout|rx_reset|time)|cx_(connect_fail|destroy_remote_with_active_rq))$"
)


def statistics(clusters: str) -> str:
    """The regular expression by which Envoy is asked for these counters of the clusters that `clusters` matches."""
    return rf"^cluster\.{clusters}\.{_STATISTICS}"


def parse(text: str) -> dict[str, Counts]:
    """The counts of each cluster in a page of Envoy's statistics."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if _CLUSTER in sample.labels:
                found[sample.labels[_CLUSTER]].append(sample)
    return {cluster: _counts(samples) for cluster, samples in found.items()}


def _counts(samples: list[Sample]) -> Counts:
    sums: dict[str, int] = defaultdict(int)
    throttled = 0
    classes: dict[int, int] = {}
    latency: dict[float, int] = {}
    for sample in samples:
        # The parser lets every counter's name end in `_total`, as OpenMetrics does.
        name = sample.name.removeprefix("envoy_cluster_upstream_").removesuffix("_total")
        if name == "rq_xx":
            classes[int(sample.labels["envoy_response_code_class"])] = int(sample.value)
        elif name == "rq":
            throttled += int(sample.value) if sample.labels.get("envoy_response_code") == "429" else 0
        elif name == "rq_time_bucket":
            latency[float(sample.labels["le"])] = int(sample.value)
        else:
            sums[name] = int(sample.value)
    return Counts(
        completed=sums["rq_completed"],
        classes=classes,
        throttled=throttled,
        timeouts=sums["rq_timeout"],
        resets=sums["rq_rx_reset"] + sums["cx_destroy_remote_with_active_rq"],
        connect_failures=sums["cx_connect_fail"],
        latency=tuple(sorted(latency.items())),
    )
