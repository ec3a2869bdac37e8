"""The tables, as the newest migration leaves them (a test holds the two against each other)."""

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
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)
_NOW = func.now()


def _moment(name: str = "created_at") -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=_NOW)


specs = Table(
    "specs",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    _moment(),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec_hash", Text, ForeignKey("specs.hash"), nullable=False),
    Column("stable", Integer),
    Column("last_version", Integer, nullable=False, server_default=text("0")),
    _moment(),
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
    _moment(),
    _moment("changed_at"),
)

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
    _moment(),
    Column("settled_at", DateTime(timezone=True)),
    Column("spec_hash", Text, ForeignKey("specs.hash")),
    Column("mode", Text, nullable=False, server_default=text("'manual'")),
    Column("paused_at", DateTime(timezone=True)),
    _moment("step_started_at"),
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
    _moment(),
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
    _moment("saved_at"),
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
    _moment("received_at"),
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
    _moment(),
    _moment("seen_at"),
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
    _moment(),
    _moment("changed_at"),
    Index("feedback_prediction_subject_key", "prediction_id", "subject", unique=True),
    Index("feedback_model_created_at_idx", "model", "created_at"),
    Index("feedback_subject_idx", "subject"),
)

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
    _moment("measured_at"),
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
    _moment(),
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
    _moment(),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("models", ARRAY(Text), nullable=False),
    Column("version", Integer),
    Column("note", Text),
    _moment(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Index("tokens_revoked_idx", "expires_at", postgresql_where=text("revoked_at IS NOT NULL")),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("models", ARRAY(Text), nullable=False),
    _moment(),
    Column("disabled_at", DateTime(timezone=True)),
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
    _moment("not_before"),
    Column("progress", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("result", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("error", Text),
    _moment(),
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
    _moment(),
    ForeignKeyConstraint(
        ["model", "version"], ["versions.model", "versions.number"], name="input_references_version_fkey"
    ),
)

inputs = Table(
    "inputs",
    metadata,
    Column("model", Text, primary_key=True),
    Column("prediction_id", UUID, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("consented", Boolean, nullable=False),
    Column("keep_until", DateTime(timezone=True), nullable=False),
    Column("review", Text, nullable=False, server_default=text("'waiting'")),
    Column("label", Text),
    Column("reviewed_by", Text),
    Column("reviewed_at", DateTime(timezone=True)),
    _moment(),
    Index("inputs_keep_until_idx", "keep_until"),
    Index("inputs_model_review_prediction_id_idx", "model", "review", "prediction_id"),
    Index("inputs_subject_idx", "subject"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("subject_hash", Text, nullable=False),
    Column("erased_before", DateTime(timezone=True), nullable=False),
    Column("requested_by", Text, nullable=False),
    _moment("requested_at"),
    Column("done_at", DateTime(timezone=True)),
    Column("certificate", JSONB(none_as_null=True)),
    Index("erasures_subject_hash_idx", "subject_hash"),
)

erased_samples = Table(
    "erased_samples",
    metadata,
    Column("model", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("erasure", UUID, ForeignKey("erasures.id"), nullable=False),
)
