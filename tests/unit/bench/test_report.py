import pytest

from services.bench.load import Turn
from services.bench.report import as_text, machine, summarise

TURNS = {
    "naive": [Turn(10, 700, 2800, 0.001), Turn(8, 800, 2900, 0.002), Turn(12, 600, 2700, 0.001)],
    "canari": [Turn(36, 220, 300, 0.01), Turn(32, 230, 310, 0.02), Turn(30, 240, 320, 0.01)],
}


def test_ratios_compare_turns_of_the_same_round() -> None:
    assert summarise(TURNS)["ratios"]["canari_over_naive"] == {"median": 3.6, "min": 2.5, "max": 4.0, "bar": 3.2}


def test_servers_are_summed_up_by_medians_and_the_generators_largest_share() -> None:
    assert summarise(TURNS)["servers"]["naive"] == {
        "requests_per_second": {"median": 10, "min": 8, "max": 12},
        "p50_ms": 700,
        "p99_ms": 2800,
        "generator_share": 0.002,
    }


def test_a_server_that_was_left_out_has_no_ratio() -> None:
    assert summarise({"canari": TURNS["canari"]})["ratios"] == {}


@pytest.mark.parametrize(("rate", "verdict"), [(32, "ok "), (31, "UNDER ")])
def test_the_text_says_whether_a_bar_is_reached(rate: float, verdict: str) -> None:
    found = summarise({"naive": [Turn(10, 1, 2)], "canari": [Turn(rate, 1, 2)]})
    text = as_text({"machine": machine(), "rounds": 1, "seconds": 8.0, "concurrency": 8, **found})
    line = text.splitlines()[-1]
    assert line.startswith(verdict)
    assert line.endswith("expected >= 3.20")
