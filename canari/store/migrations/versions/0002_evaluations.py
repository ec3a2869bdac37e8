"""How live versions do, window by window.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EVALUATIONS = """
CREATE TABLE evaluations (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    predictions BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    voted BIGINT NOT NULL,
    satisfied BIGINT NOT NULL,
    labelled BIGINT NOT NULL,
    correct BIGINT NOT NULL,
    answers JSONB NOT NULL,
    measured_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT evaluations_pkey PRIMARY KEY (id),
    CONSTRAINT evaluations_version_fkey FOREIGN KEY(model, version) REFERENCES versions (model, number)
);
CREATE UNIQUE INDEX evaluations_window_key ON evaluations (model, version, until, since);
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(EVALUATIONS)


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE evaluations")
