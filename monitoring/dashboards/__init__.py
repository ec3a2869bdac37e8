"""Grafana's dashboards as code: `python -m monitoring.dashboards` writes monitoring/grafana/dashboards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards import canary, feedback, model, overview, platform

FOLDER = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"
ALL: Mapping[str, Callable[[], Dashboard]] = {
    "overview": overview.dashboard,
    "model": model.dashboard,
    "canary": canary.dashboard,
    "feedback": feedback.dashboard,
    "platform": platform.dashboard,
}


def rendered() -> dict[Path, str]:
    """What each file must hold."""
    return {
        FOLDER / f"{name}.json": json.dumps(make(), cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"
        for name, make in ALL.items()
    }
