"""The jobs as Prefect 3 flows, for those whose own Prefect server starts and shows what runs (the extra ``prefect``).

``python -m services.jobs.flows`` registers a deployment for each job with the server of PREFECT_API_URL, by the
platform's schedules, and runs what that server starts. Each run is a process of its own, as a CronJob's is; a server
beside CronJobs does no harm, for a window is done once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, serve, task
from prefect.schedules import Cron

from canari.settings import Settings
from canari.types import JobKind

_ROOT = Path(__file__).resolve().parents[2]
_RETRY_SECONDS = [60, 300]
_GRACE_SECONDS = 60


def _run(kind: JobKind, model: str | None = None, *, dry_run: bool = False) -> Any:
    """Run ``python -m services.jobs KIND`` and log what it says; returns its result as JSON values.

    Raises RuntimeError with its last words where it fails. Where the run is cancelled the job is given back.
    """
    log = get_run_logger()
    flags = [*(["--model", model] if model else []), *(["--dry-run"] if dry_run else [])]
    command = [sys.executable, "-m", "services.jobs", kind, "--json", *flags]
    said = ""
    with (
        tempfile.TemporaryFile("w+") as result,
        subprocess.Popen(command, cwd=_ROOT, stdout=result, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            assert process.stderr is not None
            for line in process.stderr:
                said = line.strip()
                log.info(said)
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(_GRACE_SECONDS)
        if process.returncode != 0:
            raise RuntimeError(said or f"{kind} ended with status {process.returncode}")
        result.seek(0)
        return json.loads(result.read() or "null")


job = task(_run, name="job", task_run_name="{kind}", retries=len(_RETRY_SECONDS), retry_delay_seconds=_RETRY_SECONDS)


def _evaluate(model: str | None = None, dry_run: bool = False) -> Any:
    """Measure how each live version did, or a model's."""
    return job(JobKind.EVALUATE, model, dry_run=dry_run)


def _retrain(model: str | None = None, dry_run: bool = False) -> Any:
    """Look whether each model, or one, is to be trained again, and train those."""
    return job(JobKind.RETRAIN, model, dry_run=dry_run)


def _retention(dry_run: bool = False) -> Any:
    """Delete what may be kept no longer, and what people had erased."""
    return job(JobKind.RETENTION, dry_run=dry_run)


evaluate = flow(_evaluate, name="canari-evaluate")
retrain = flow(_retrain, name="canari-retrain")
retention = flow(_retention, name="canari-retention")


def deployments(settings: Settings) -> list[Any]:
    """A deployment for each job, by the platform's schedules; a run at a time."""
    flows = {JobKind.EVALUATE: evaluate, JobKind.RETRAIN: retrain, JobKind.RETENTION: retention}
    return [
        flows[kind].to_deployment(
            name="canari", schedule=Cron(cron, timezone="UTC"), tags=["canari"], concurrency_limit=1
        )
        for kind, cron in settings.schedules.items()
    ]


if __name__ == "__main__":
    serve(*deployments(Settings()))
