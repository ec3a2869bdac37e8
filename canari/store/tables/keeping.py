"""Inputs that people let one keep, and the people who want to be forgotten."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from canari.store.tables.base import metadata, moment

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
    moment(),
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
    moment("requested_at"),
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
