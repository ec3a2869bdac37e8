"""Tests that stay valid however often one looks: numpy only, no I/O, whole numbers of outcomes in."""

from __future__ import annotations

from canari.stats.change import Change, change
from canari.stats.difference import Difference
from canari.stats.methods import RARE, VOTES, Method
from canari.stats.one_rate import OneRate, log_share_differs
from canari.stats.planning import outcomes_to_no_worse
from canari.stats.shares import Pairs, wilson
from canari.stats.two_rates import Outcomes, TwoRates

__all__ = [
    "RARE",
    "VOTES",
    "Change",
    "Difference",
    "Method",
    "OneRate",
    "Outcomes",
    "Pairs",
    "TwoRates",
    "change",
    "log_share_differs",
    "outcomes_to_no_worse",
    "wilson",
]
