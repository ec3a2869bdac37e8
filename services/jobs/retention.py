"""Forgetting: what may be kept no longer, what the policy no longer has kept, and what people had erased."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from loguru import logger
from sqlalchemy import Engine

from canari.blobs import FolderBlobs
from canari.erasure import Eraser
from canari.keys import signing_key
from canari.runtime import inputs as runtime_inputs
from canari.runtime import spool
from canari.settings import Layout, Settings
from canari.store import erasures, forgetting, inputs, versions
from canari.tombstones import Tombstones
from services.jobs.progress import Report

ENDED_JOBS_DAYS = 90
EXPIRED_TOKENS_DAYS = 90
# A bento that is keeping an input has put its blob and not yet its row.
_GRACE = timedelta(hours=1)


def forget(engine: Engine, settings: Settings, *, dry_run: bool, report: Report) -> Mapping[str, Any]:
    """Forget, and return what was forgotten, by what it was; with `dry_run` nothing is, and it says what would be.

    Whatever kills it, the next run does what is left. Steps:
    the live policies are applied to what is kept; overdue inputs go, and what killed processes left of others;
    spools of dead processes that nobody adopted; old jobs and tokens; erasures are gone on with, and after a restore
    replayed.
    """
    layout = settings.layout
    blobs = FolderBlobs(layout.blobs)
    found: dict[str, Any] = _policies(engine, dry_run=dry_run)
    before = datetime.now(UTC) - _GRACE
    orphans = inputs.orphans(engine, blobs, before)
    if dry_run:
        found["inputs_overdue"] = sum(inputs.overdue(engine).values())
        found["blobs_without_row"] = len(orphans)
    else:
        found["inputs_deleted"] = inputs.delete_overdue(engine, blobs, lambda n: report("inputs", n, n, {}))
        found["blobs_without_row"] = inputs.delete_orphans(engine, blobs, orphans)
        blobs.drop_unfinished(inputs.ROOT, before)
        found["spools_expired"], found["spooled_inputs_expired"] = _expire_spools(layout)
    ended = forgetting.old_jobs(engine, timedelta(days=ENDED_JOBS_DAYS), dry_run=dry_run)
    expired = forgetting.old_tokens(engine, timedelta(days=EXPIRED_TOKENS_DAYS), dry_run=dry_run)
    found |= {"old_jobs": ended, "old_tokens": expired}
    return found | _erasures(engine, settings, dry_run=dry_run, report=report)


def _policies(engine: Engine, *, dry_run: bool) -> dict[str, Any]:
    """Apply the live policies to what is kept, and say why: a sentence for each model that keeps less than it did."""
    why: list[str] = []
    specs = versions.live_specs(engine)
    for model in inputs.models(engine):
        spec = specs.get(model)
        policy, days = (spec.retains, spec.data.retain_days) if spec else ("never", 1)
        changed = inputs.apply_policy(engine, model, policy, days, dry_run=dry_run)
        if changed["due"]:
            why.append(f"{model}: {changed['due']} inputs go, for the policy keeps inputs {policy}")
        if changed["sooner"]:
            why.append(f"{model}: {changed['sooner']} inputs go sooner, for the policy keeps them {days} days")
    for model, count in inputs.overdue(engine).items():
        why.append(f"{model}: {count} inputs go, for their time is over")
    for sentence in why:
        logger.info(sentence)
    return {"why": why}


def _expire_spools(layout: Layout) -> tuple[int, int]:
    """Delete what processes of versions that run no more left on this machine a day ago."""
    rows = kept = 0
    for folder in sorted(layout.spool.glob("*/*")):
        if folder.is_dir():
            rows += spool.expire(folder, spool.LONGEST.total_seconds())
            kept += runtime_inputs.expire(folder / runtime_inputs.FOLDER)
    return rows, kept


def _erasures(engine: Engine, settings: Settings, *, dry_run: bool, report: Report) -> dict[str, Any]:
    tombstones = Tombstones(settings.layout.root)
    if dry_run:
        known = {one.tombstone.id for one in erasures.newest(engine, limit=None)}
        lacking = sum(one.id not in known for one in tombstones.read())
        waiting = len(erasures.newest(engine, open_only=True, limit=None))
        return {"erasures_open": waiting + lacking, "tombstones_replayed": lacking}
    owner = settings.database_owner_url
    eraser = Eraser(engine, settings.layout, tombstones, partial(signing_key, settings.keys), owner)
    report("erasures", 0, 1, {})
    went = eraser.resume(logger.info)
    report("erasures", 1, 1, {})
    return {"erasures_done": went.done, "erasures_open": went.still_open, "tombstones_replayed": went.replayed}
