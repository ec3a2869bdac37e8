"""Who may do what."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from canari.store.tables.base import metadata, moment

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("models", ARRAY(Text), nullable=False),
    Column("version", Integer),
    Column("note", Text),
    moment(),
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
    moment(),
    Column("disabled_at", DateTime(timezone=True)),
)
