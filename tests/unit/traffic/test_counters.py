import math
import re

from canari.observations import Counts
from canari.traffic.counters import parse, statistics

PAGE = """\
# TYPE envoy_cluster_upstream_cx_connect_fail counter
envoy_cluster_upstream_cx_connect_fail{envoy_cluster_name="arm/drift/2"} 3
# TYPE envoy_cluster_upstream_cx_destroy_remote_with_active_rq counter
envoy_cluster_upstream_cx_destroy_remote_with_active_rq{envoy_cluster_name="arm/drift/2"} 1
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="429",envoy_cluster_name="arm/drift/2"} 4
envoy_cluster_upstream_rq{envoy_response_code="404",envoy_cluster_name="arm/drift/2"} 2
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{envoy_cluster_name="arm/drift/1"} 9007199254740991
envoy_cluster_upstream_rq_completed{envoy_cluster_name="arm/drift/2"} 20
# TYPE envoy_cluster_upstream_rq_rx_reset counter
envoy_cluster_upstream_rq_rx_reset{envoy_cluster_name="arm/drift/2"} 1
# TYPE envoy_cluster_upstream_rq_timeout counter
envoy_cluster_upstream_rq_timeout{envoy_cluster_name="arm/drift/2"} 5
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="arm/drift/2"} 14
envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="arm/drift/2"} 6
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="arm/drift/2",le="0.5"} 7
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="arm/drift/2",le="500"} 19
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="arm/drift/2",le="+Inf"} 20
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="arm/drift/2"} 71.5
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="arm/drift/2"} 20
# TYPE envoy_server_uptime gauge
envoy_server_uptime{} 12
"""


def test_each_cluster_has_its_own_counts_and_they_are_whole() -> None:
    found = parse(PAGE)
    assert found == {
        "arm/drift/1": Counts(completed=2**53 - 1),
        "arm/drift/2": Counts(
            completed=20,
            classes={2: 14, 4: 6},
            throttled=4,
            timeouts=5,
            resets=2,
            connect_failures=3,
            latency=((0.5, 7), (500.0, 19), (math.inf, 20)),
        ),
    }


def test_a_whole_page_is_read_as_well_as_a_filtered_one() -> None:
    whole = 'envoy_cluster_upstream_rq_total{envoy_cluster_name="arm/drift/2"} 9\n'
    assert parse(PAGE + "# TYPE envoy_cluster_upstream_rq_total counter\n" + whole) == parse(PAGE)


def test_an_empty_page_is_no_cluster() -> None:
    assert parse("") == {}


def test_envoy_is_asked_for_what_is_read_and_for_no_more() -> None:
    wanted = re.compile(statistics("arm/[^.]+"))
    for name in ("rq_completed", "rq_2xx", "rq_429", "rq_time", "rq_timeout", "rq_rx_reset", "cx_connect_fail"):
        assert wanted.search(f"cluster.arm/drift/2.upstream_{name}")
    for name in (
        "arm/drift/2.upstream_rq_total",
        "arm/drift/2.external.upstream_rq_2xx",
        "pin/drift/2.upstream_rq_2xx",
    ):
        assert not wanted.search(f"cluster.{name}")
