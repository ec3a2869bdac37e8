"""The first tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE accounts (
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    models TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    disabled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT accounts_pkey PRIMARY KEY (name)
);
CREATE TABLE feedback (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    prediction_id UUID NOT NULL,
    model TEXT NOT NULL,
    subject TEXT NOT NULL,
    "right" BOOLEAN NOT NULL,
    first_right BOOLEAN NOT NULL,
    label TEXT,
    comment TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT feedback_pkey PRIMARY KEY (id)
);
CREATE INDEX feedback_model_created_at_idx ON feedback (model, created_at);
CREATE UNIQUE INDEX feedback_prediction_subject_key ON feedback (prediction_id, subject);
CREATE INDEX feedback_subject_idx ON feedback (subject);
CREATE TABLE manifests (
    digest TEXT NOT NULL,
    model TEXT NOT NULL,
    body JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT manifests_pkey PRIMARY KEY (digest)
);
CREATE TABLE predictions (
    id UUID NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    recorder UUID NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    rollout INTEGER NOT NULL,
    step INTEGER NOT NULL,
    subject TEXT NOT NULL,
    status SMALLINT NOT NULL,
    reason TEXT,
    label TEXT,
    score REAL,
    scores JSONB,
    request_id TEXT NOT NULL,
    input_bytes INTEGER NOT NULL,
    input_sha256 TEXT,
    latency_ms REAL NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT predictions_pkey PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);
CREATE INDEX predictions_model_id_idx ON predictions (model, id);
CREATE INDEX predictions_model_version_id_idx ON predictions (model, version, id);
CREATE INDEX predictions_subject_id_idx ON predictions (subject, id);
CREATE TABLE recorders (
    id UUID NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    received BIGINT NOT NULL,
    highest BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT recorders_pkey PRIMARY KEY (id)
);
CREATE INDEX recorders_model_version_idx ON recorders (model, version);
CREATE TABLE specs (
    hash TEXT NOT NULL,
    model TEXT NOT NULL,
    body JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT specs_pkey PRIMARY KEY (hash)
);
CREATE TABLE tokens (
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    models TEXT[] NOT NULL,
    version INTEGER,
    note TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT tokens_pkey PRIMARY KEY (id)
);
CREATE INDEX tokens_revoked_idx ON tokens (expires_at) WHERE revoked_at IS NOT NULL;
CREATE TABLE models (
    name TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    stable INTEGER,
    last_version INTEGER DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT models_pkey PRIMARY KEY (name),
    CONSTRAINT models_spec_hash_fkey FOREIGN KEY(spec_hash) REFERENCES specs (hash)
);
CREATE TABLE samples (
    model TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    label TEXT NOT NULL,
    "group" TEXT NOT NULL,
    evaluation BOOLEAN NOT NULL,
    synthetic BOOLEAN NOT NULL,
    source TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT samples_pkey PRIMARY KEY (model, sha256),
    CONSTRAINT samples_model_fkey FOREIGN KEY(model) REFERENCES models (name)
);
CREATE TABLE versions (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    archive TEXT,
    synthetic BOOLEAN DEFAULT false NOT NULL,
    manifest TEXT,
    metrics JSONB DEFAULT '{}'::jsonb NOT NULL,
    error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT versions_pkey PRIMARY KEY (model, number),
    CONSTRAINT versions_model_fkey FOREIGN KEY(model) REFERENCES models (name),
    CONSTRAINT versions_spec_hash_fkey FOREIGN KEY(spec_hash) REFERENCES specs (hash)
);
CREATE TABLE rollouts (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    model TEXT NOT NULL,
    stable INTEGER,
    canary INTEGER NOT NULL,
    step INTEGER DEFAULT 0 NOT NULL,
    weight INTEGER NOT NULL,
    state TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT rollouts_pkey PRIMARY KEY (id),
    CONSTRAINT rollouts_canary_fkey FOREIGN KEY(model, canary) REFERENCES versions (model, number)
);
CREATE INDEX rollouts_model_id_idx ON rollouts (model, id);
CREATE UNIQUE INDEX rollouts_one_open_per_model ON rollouts (model) WHERE state = 'open';
CREATE TABLE decisions (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    rollout INTEGER NOT NULL,
    action TEXT NOT NULL,
    weight INTEGER NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    code_version TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT decisions_pkey PRIMARY KEY (id),
    CONSTRAINT decisions_rollout_fkey FOREIGN KEY(rollout) REFERENCES rollouts (id),
    CONSTRAINT decisions_spec_hash_fkey FOREIGN KEY(spec_hash) REFERENCES specs (hash)
);
CREATE INDEX decisions_rollout_id_idx ON decisions (rollout, id);
"""

# The application role may not change the schema, yet each month needs its partition before it begins: so the owner
# lends it this one function. Rows of a month without a partition land in predictions_default and stay readable.
PARTITIONS = """
CREATE TABLE predictions_default PARTITION OF predictions DEFAULT;

CREATE FUNCTION first_uuid7(moment timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;

CREATE FUNCTION ensure_partitions(moment timestamptz, ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    month timestamptz;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('canari.partitions'));
    FOR n IN 0..ahead LOOP
        month := date_trunc('month', moment, 'UTC') + make_interval(months => n);
        IF to_regclass(format('public.predictions_%s', to_char(month AT TIME ZONE 'UTC', 'YYYY_MM'))) IS NULL
           AND NOT EXISTS (SELECT 1 FROM public.predictions_default
                           WHERE id >= public.first_uuid7(month)
                             AND id < public.first_uuid7(month + make_interval(months => 1))) THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.predictions FOR VALUES FROM (%L) TO (%L)',
                           'predictions_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM'),
                           public.first_uuid7(month), public.first_uuid7(month + make_interval(months => 1)));
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;

REVOKE ALL ON FUNCTION ensure_partitions(timestamptz, integer) FROM PUBLIC;
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TABLES)
    op.execute(PARTITIONS)


def downgrade() -> None:
    """There is nothing before the first tables."""
    message = "the first migration cannot be undone; drop the database instead"
    raise NotImplementedError(message)
