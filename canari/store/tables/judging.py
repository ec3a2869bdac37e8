"""Rollouts, what was decided of them, and the evidence for it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from canari.store.tables.base import metadata, moment

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("model", Text, nullable=False),
    Column("stable", Integer),
    Column("canary", Integer, nullable=False),
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("weight", Integer, nullable=False),
    Column("state", Text, nullable=False),
    moment(),
    Column("settled_at", DateTime(timezone=True)),
    Column("spec_hash", Text, ForeignKey("specs.hash")),
    Column("mode", Text, nullable=False, server_default=text("'manual'")),
    Column("paused_at", DateTime(timezone=True)),
    moment("step_started_at"),
    Column("deadline_at", DateTime(timezone=True)),
    Column("proposed_by", Text),
    Column("reason", Text),
    Column("priors", JSONB),
    ForeignKeyConstraint(["model", "canary"], ["versions.model", "versions.number"], name="rollouts_canary_fkey"),
    Index("rollouts_one_open_per_model", "model", unique=True, postgresql_where=text("state = 'open'")),
    Index("rollouts_model_id_idx", "model", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False),
    Column("action", Text, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("spec_hash", Text, ForeignKey("specs.hash"), nullable=False),
    Column("code_version", Text, nullable=False),
    moment(),
    Column("evidence_tick", BigInteger),
    Column("verdict", JSONB(none_as_null=True)),
    Index("decisions_rollout_id_idx", "rollout", "id"),
)

# Without a key into rollouts, which would be looked up for each of its many rows: they are written with their look's.
evidence = Table(
    "evidence",
    metadata,
    Column("rollout", Integer, primary_key=True),
    Column("tick", BigInteger, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
)

evidence_faults = Table(
    "evidence_faults",
    metadata,
    Column("rollout", Integer, ForeignKey("rollouts.id"), primary_key=True),
    Column("tick", BigInteger, primary_key=True),
    Column("place", SmallInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("sentence", Text, nullable=False),
)

evidence_voters = Table(
    "evidence_voters",
    metadata,
    Column("rollout", Integer, ForeignKey("rollouts.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
)

looks = Table(
    "looks",
    metadata,
    Column("rollout", Integer, ForeignKey("rollouts.id"), primary_key=True),
    Column("tick", BigInteger, nullable=False),
    Column("marks", JSONB, nullable=False),
    Column("cohorts", JSONB),
)

judge_state = Table(
    "judge_state",
    metadata,
    Column("rollout", Integer, ForeignKey("rollouts.id"), primary_key=True),
    Column("state", JSONB, nullable=False),
    Column("judgement", JSONB(none_as_null=True)),
    moment("saved_at"),
)
