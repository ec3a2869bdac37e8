"""Where a metric stands when a rollout is looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one metric stands: totals of the rollout (whole numbers), and the logarithms of its two e-processes.

    Less than `minimum` outcomes in either arm count as silence. `mistrust` is a guard's sentence, where one spoke: the
    metric is then silent too. A metric that is not `required` can roll back, and no promotion waits for it.
    """

    metric: str
    margin: float
    stable_n: int
    stable_bad: int
    canary_n: int
    canary_bad: int
    log_harm: float
    log_no_worse: float
    required: bool = True
    minimum: int = 10
    mistrust: str | None = None

    @property
    def heard(self) -> bool:
        """Whether its evidence counts."""
        return self.mistrust is None and min(self.stable_n, self.canary_n) >= self.minimum
