"""Models, their versions, what these answered, and what was said of it."""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from canari.store.tables.base import metadata, moment

specs = Table(
    "specs",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    moment(),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec_hash", Text, ForeignKey("specs.hash"), nullable=False),
    Column("stable", Integer),
    Column("last_version", Integer, nullable=False, server_default=text("0")),
    moment(),
)

versions = Table(
    "versions",
    metadata,
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("spec_hash", Text, ForeignKey("specs.hash"), nullable=False),
    Column("archive", Text),
    Column("synthetic", Boolean, nullable=False, server_default=text("false")),
    Column("manifest", Text),
    Column("metrics", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("error", Text),
    moment(),
    moment("changed_at"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("recorder", UUID, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("rollout", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("reason", Text),
    Column("label", Text),
    Column("score", REAL),
    Column("scores", JSONB),
    Column("request_id", Text, nullable=False),
    Column("input_bytes", Integer, nullable=False),
    Column("input_sha256", Text),
    Column("latency_ms", REAL, nullable=False),
    moment("received_at"),
    Column("bins", ARRAY(SmallInteger)),
    Index("predictions_model_id_idx", "model", "id"),
    Index("predictions_model_version_id_idx", "model", "version", "id"),
    Index("predictions_subject_id_idx", "subject", "id"),
    postgresql_partition_by="RANGE (id)",
)

recorders = Table(
    "recorders",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("highest", BigInteger, nullable=False),
    moment(),
    moment("seen_at"),
    Index("recorders_model_version_idx", "model", "version"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("prediction_id", UUID, nullable=False),
    Column("model", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("right", Boolean, nullable=False, quote=True),
    Column("first_right", Boolean, nullable=False),
    Column("label", Text),
    Column("comment", Text),
    moment(),
    moment("changed_at"),
    Index("feedback_prediction_subject_key", "prediction_id", "subject", unique=True),
    Index("feedback_model_created_at_idx", "model", "created_at"),
    Index("feedback_subject_idx", "subject"),
)
