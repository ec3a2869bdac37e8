"""How good versions are, what the next ones learn from, and the jobs that see to both."""

from __future__ import annotations

from sqlalchemy import (
    DOUBLE_PRECISION,
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from canari.store.tables.base import metadata, moment

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("predictions", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("voted", BigInteger, nullable=False),
    Column("satisfied", BigInteger, nullable=False),
    Column("labelled", BigInteger, nullable=False),
    Column("correct", BigInteger, nullable=False),
    Column("answers", JSONB, nullable=False),
    moment("measured_at"),
    Column("held_out", JSONB(none_as_null=True)),
    Column("calibration_error", REAL),
    Column("drift", JSONB(none_as_null=True)),
    Column("report", Text),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], name="evaluations_version_fkey"),
    Index("evaluations_window_key", "model", "version", "until", "since", unique=True),
)

samples = Table(
    "samples",
    metadata,
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("label", Text, nullable=False),
    Column("group", Text, nullable=False, quote=True),
    Column("evaluation", Boolean, nullable=False),
    Column("synthetic", Boolean, nullable=False),
    Column("source", Text, nullable=False),
    moment(),
    Column("origin", Text, nullable=False, server_default=text("'team'")),
    Column("subject", Text),
    Column("prediction_id", UUID),
    Column("labelled_by", Text),
    Index("samples_subject_idx", "subject", postgresql_where=text("subject IS NOT NULL")),
)

manifests = Table(
    "manifests",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    moment(),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("model", Text),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'queued'")),
    Column("asked_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("arguments", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("holder", Text),
    Column("lease_until", DateTime(timezone=True)),
    moment("not_before"),
    Column("progress", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("result", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("error", Text),
    moment(),
    Column("started_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Index("jobs_key_key", "key", unique=True),
    Index("jobs_model_id_idx", "model", "id"),
    Index("jobs_kind_id_idx", "kind", "id", postgresql_where=text("state IN ('queued', 'running')")),
)
Index(
    "jobs_one_running",
    jobs.c.kind,
    func.coalesce(jobs.c.model, text("''")),
    unique=True,
    postgresql_where=text("state = 'running'"),
)

hours = Table(
    "hours",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("predictions", BigInteger, nullable=False, server_default=text("0")),
    Column("refused", BigInteger, nullable=False, server_default=text("0")),
    Column("failed", BigInteger, nullable=False, server_default=text("0")),
    Column("latency_ms", DOUBLE_PRECISION, nullable=False, server_default=text("0")),
    Column("score", DOUBLE_PRECISION, nullable=False, server_default=text("0")),
    Column("answers", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("voted", BigInteger, nullable=False, server_default=text("0")),
    Column("satisfied", BigInteger, nullable=False, server_default=text("0")),
    Column("labelled", BigInteger, nullable=False, server_default=text("0")),
    Column("correct", BigInteger, nullable=False, server_default=text("0")),
    Index("hours_hour_idx", "hour"),
)

hour_marks = Table(
    "hour_marks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("model", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
)

input_references = Table(
    "input_references",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("body", JSONB, nullable=False),
    moment(),
    ForeignKeyConstraint(
        ["model", "version"], ["versions.model", "versions.number"], name="input_references_version_fkey"
    ),
)
