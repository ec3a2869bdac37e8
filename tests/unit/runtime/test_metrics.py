from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import os, sys
from canari.runtime.metrics import Metrics
metrics = Metrics("colours", 3)
metrics.answered(200, "arm", 0.01)
metrics.set_spool_bytes(7)
print(metrics.expose().decode())
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


def killed_process(folder: Path) -> str:
    """What a process that is then killed shows of all processes."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == -9, result.stderr
    return result.stdout


def test_counts_of_dead_processes_stay_but_their_gauges_go(tmp_path: Path) -> None:
    for processes in (1, 2):
        shown = killed_process(tmp_path)
        assert f'requests_total{{kind="arm",model="colours",status="200",version="3"}} {processes}.0' in shown
        assert 'canari_recorder_spool_bytes{model="colours",version="3"} 7.0' in shown
