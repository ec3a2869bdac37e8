"""What judged rollouts are made of: their course, their evidence, and the figures they were decided on.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COURSE = """
ALTER TABLE rollouts
    ADD COLUMN spec_hash TEXT,
    ADD COLUMN mode TEXT DEFAULT 'manual' NOT NULL,
    ADD COLUMN paused_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN step_started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ADD COLUMN deadline_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN proposed_by TEXT,
    ADD COLUMN reason TEXT,
    ADD COLUMN priors JSONB,
    ADD CONSTRAINT rollouts_spec_hash_fkey FOREIGN KEY(spec_hash) REFERENCES specs (hash);
ALTER TABLE decisions
    ADD COLUMN evidence_tick BIGINT,
    ADD COLUMN verdict JSONB;
"""

EVIDENCE = """
CREATE TABLE evidence (
    rollout INTEGER NOT NULL,
    tick BIGINT NOT NULL,
    step INTEGER NOT NULL,
    version INTEGER NOT NULL,
    metric TEXT NOT NULL,
    n BIGINT NOT NULL,
    bad BIGINT NOT NULL,
    CONSTRAINT evidence_pkey PRIMARY KEY (rollout, tick, step, version, metric)
);
CREATE TABLE evidence_faults (
    rollout INTEGER NOT NULL,
    tick BIGINT NOT NULL,
    place SMALLINT NOT NULL,
    kind TEXT NOT NULL,
    sentence TEXT NOT NULL,
    CONSTRAINT evidence_faults_pkey PRIMARY KEY (rollout, tick, place),
    CONSTRAINT evidence_faults_rollout_fkey FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
CREATE TABLE evidence_voters (
    rollout INTEGER NOT NULL,
    version INTEGER NOT NULL,
    metric TEXT NOT NULL,
    subject TEXT NOT NULL,
    CONSTRAINT evidence_voters_pkey PRIMARY KEY (rollout, version, metric, subject),
    CONSTRAINT evidence_voters_rollout_fkey FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
CREATE TABLE judge_state (
    rollout INTEGER NOT NULL,
    state JSONB NOT NULL,
    judgement JSONB,
    saved_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT judge_state_pkey PRIMARY KEY (rollout),
    CONSTRAINT judge_state_rollout_fkey FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
CREATE TABLE looks (
    rollout INTEGER NOT NULL,
    tick BIGINT NOT NULL,
    marks JSONB NOT NULL,
    cohorts JSONB,
    CONSTRAINT looks_pkey PRIMARY KEY (rollout),
    CONSTRAINT looks_rollout_fkey FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
"""


def upgrade() -> None:
    """Make the columns and the tables."""
    op.execute(COURSE)
    op.execute(EVIDENCE)


def downgrade() -> None:
    """Drop the tables and the columns."""
    op.execute("DROP TABLE evidence, evidence_faults, evidence_voters, judge_state, looks")
    op.execute("ALTER TABLE decisions DROP COLUMN evidence_tick, DROP COLUMN verdict")
    op.execute(
        "ALTER TABLE rollouts DROP COLUMN spec_hash, DROP COLUMN mode, DROP COLUMN paused_at, "
        "DROP COLUMN step_started_at, DROP COLUMN deadline_at, DROP COLUMN proposed_by, DROP COLUMN reason, "
        "DROP COLUMN priors"
    )
