"""What the loop is made of: jobs, counts by the hour, kept inputs and their erasure, and what drift is seen by.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JOBS = """
CREATE TABLE jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    model TEXT,
    key TEXT NOT NULL,
    state TEXT DEFAULT 'queued' NOT NULL,
    asked_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    arguments JSONB DEFAULT '{}'::jsonb NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    holder TEXT,
    lease_until TIMESTAMP WITH TIME ZONE,
    not_before TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    progress JSONB DEFAULT '{}'::jsonb NOT NULL,
    result JSONB DEFAULT '{}'::jsonb NOT NULL,
    error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT jobs_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX jobs_key_key ON jobs (key);
CREATE UNIQUE INDEX jobs_one_running ON jobs (kind, (coalesce(model, ''))) WHERE state = 'running';
CREATE INDEX jobs_kind_id_idx ON jobs (kind, id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_model_id_idx ON jobs (model, id);
"""

HOURS = """
CREATE TABLE hours (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    predictions BIGINT DEFAULT 0 NOT NULL,
    refused BIGINT DEFAULT 0 NOT NULL,
    failed BIGINT DEFAULT 0 NOT NULL,
    latency_ms DOUBLE PRECISION DEFAULT 0 NOT NULL,
    score DOUBLE PRECISION DEFAULT 0 NOT NULL,
    answers JSONB DEFAULT '{}'::jsonb NOT NULL,
    voted BIGINT DEFAULT 0 NOT NULL,
    satisfied BIGINT DEFAULT 0 NOT NULL,
    labelled BIGINT DEFAULT 0 NOT NULL,
    correct BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT hours_pkey PRIMARY KEY (model, version, hour)
);
CREATE INDEX hours_hour_idx ON hours (hour);
CREATE TABLE hour_marks (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    model TEXT NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT hour_marks_pkey PRIMARY KEY (id)
);
"""

# Whatever writes, and of whatever release, is counted: the database does it, in the transaction that writes. A mark
# says that the votes of an hour are to be counted anew; marks are only ever added, so that no vote waits for another.
COUNTING = """
CREATE FUNCTION hour_of_uuid7(id uuid) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_timestamp(translate('x' || left(id::text, 13), '-', '')::bit(48)::bigint / 3600000 * 3600);

CREATE FUNCTION add_counts(one jsonb, other jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce(jsonb_object_agg(key, n), '{}') FROM (
            SELECT key, sum(value::bigint) AS n
            FROM (SELECT * FROM jsonb_each_text(one) UNION ALL SELECT * FROM jsonb_each_text(other)) both_counts
            GROUP BY key
        ) summed
    );

CREATE FUNCTION count_predictions() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO hours (model, version, hour, predictions, refused, failed, latency_ms, score, answers)
    {counted} FROM added
    {grouped}
    ON CONFLICT (model, version, hour) DO UPDATE SET
        predictions = hours.predictions + excluded.predictions,
        refused = hours.refused + excluded.refused,
        failed = hours.failed + excluded.failed,
        latency_ms = hours.latency_ms + excluded.latency_ms,
        score = hours.score + excluded.score,
        answers = add_counts(hours.answers, excluded.answers);
    -- Votes may have come before: whether any did cannot be seen while they are on their way.
    INSERT INTO hour_marks (model, hour) SELECT DISTINCT model, hour_of_uuid7(id) FROM added;
    RETURN NULL;
END
$$;
CREATE TRIGGER predictions_counted AFTER INSERT ON predictions REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_predictions();

CREATE FUNCTION mark_votes() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO hour_marks (model, hour) SELECT DISTINCT model, hour_of_uuid7(prediction_id) FROM said;
    RETURN NULL;
END
$$;
CREATE TRIGGER feedback_marked AFTER INSERT ON feedback REFERENCING NEW TABLE AS said
    FOR EACH STATEMENT EXECUTE FUNCTION mark_votes();
CREATE TRIGGER feedback_marked_again AFTER UPDATE ON feedback REFERENCING NEW TABLE AS said
    FOR EACH STATEMENT EXECUTE FUNCTION mark_votes();
CREATE TRIGGER feedback_marked_gone AFTER DELETE ON feedback REFERENCING OLD TABLE AS said
    FOR EACH STATEMENT EXECUTE FUNCTION mark_votes();

-- What is there already; its votes are counted by whoever sweeps the marks.
INSERT INTO hours (model, version, hour, predictions, refused, failed, latency_ms, score, answers)
{counted} FROM predictions
{grouped};
INSERT INTO hour_marks (model, hour) SELECT DISTINCT model, hour FROM hours;
"""
_COUNTED = """SELECT model, version, hour, sum(answered), sum(refused), sum(failed), sum(latency_ms), sum(score),
           coalesce(jsonb_object_agg(label, answered) FILTER (WHERE label IS NOT NULL AND answered > 0), '{}')
    FROM (
        SELECT model, version, hour_of_uuid7(id) AS hour, label,
               count(*) FILTER (WHERE status < 400) AS answered,
               count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS refused,
               count(*) FILTER (WHERE status >= 500) AS failed,
               coalesce(sum(latency_ms::float8) FILTER (WHERE status < 400), 0) AS latency_ms,
               coalesce(sum(score::float8) FILTER (WHERE status < 400), 0) AS score
       """
_GROUPED = """WHERE kind IN ('arm', 'direct')
        GROUP BY 1, 2, 3, 4
    ) by_label
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3"""

DRIFT = """
ALTER TABLE predictions ADD COLUMN bins SMALLINT[];
CREATE TABLE input_references (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    body JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT input_references_pkey PRIMARY KEY (model, version),
    CONSTRAINT input_references_version_fkey FOREIGN KEY(model, version) REFERENCES versions (model, number)
);
ALTER TABLE evaluations
    ADD COLUMN held_out JSONB,
    ADD COLUMN calibration_error REAL,
    ADD COLUMN drift JSONB,
    ADD COLUMN report TEXT;
"""

INPUTS = """
CREATE TABLE inputs (
    model TEXT NOT NULL,
    prediction_id UUID NOT NULL,
    version INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    subject TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    consented BOOLEAN NOT NULL,
    keep_until TIMESTAMP WITH TIME ZONE NOT NULL,
    review TEXT DEFAULT 'waiting' NOT NULL,
    label TEXT,
    reviewed_by TEXT,
    reviewed_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT inputs_pkey PRIMARY KEY (model, prediction_id)
);
CREATE INDEX inputs_keep_until_idx ON inputs (keep_until);
CREATE INDEX inputs_model_review_prediction_id_idx ON inputs (model, review, prediction_id);
CREATE INDEX inputs_subject_idx ON inputs (subject);
ALTER TABLE samples
    ADD COLUMN origin TEXT DEFAULT 'team' NOT NULL,
    ADD COLUMN subject TEXT,
    ADD COLUMN prediction_id UUID,
    ADD COLUMN labelled_by TEXT;
CREATE INDEX samples_subject_idx ON samples (subject) WHERE subject IS NOT NULL;
"""

ERASURES = """
CREATE TABLE erasures (
    id UUID NOT NULL,
    subject_hash TEXT NOT NULL,
    erased_before TIMESTAMP WITH TIME ZONE NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    done_at TIMESTAMP WITH TIME ZONE,
    certificate JSONB,
    CONSTRAINT erasures_pkey PRIMARY KEY (id)
);
CREATE INDEX erasures_subject_hash_idx ON erasures (subject_hash);
CREATE TABLE erased_samples (
    model TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    erasure UUID NOT NULL,
    CONSTRAINT erased_samples_pkey PRIMARY KEY (model, sha256),
    CONSTRAINT erased_samples_erasure_fkey FOREIGN KEY(erasure) REFERENCES erasures (id)
);
-- What people write is searched by nobody, and so has no place in the planner's statistics.
ALTER TABLE feedback ALTER COLUMN comment SET STATISTICS 0;
"""


def upgrade() -> None:
    """Make the tables and the columns, and count what is there."""
    for part in (JOBS, HOURS, DRIFT, INPUTS, ERASURES):
        op.execute(part)
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute(COUNTING.replace("{counted}", _COUNTED).replace("{grouped}", _GROUPED))


def downgrade() -> None:
    """Drop the tables and the columns, and what counts into them."""
    op.execute("DROP TRIGGER predictions_counted ON predictions")
    op.execute("DROP TRIGGER feedback_marked ON feedback")
    op.execute("DROP TRIGGER feedback_marked_again ON feedback")
    op.execute("DROP TRIGGER feedback_marked_gone ON feedback")
    op.execute("DROP FUNCTION count_predictions, mark_votes, add_counts, hour_of_uuid7")
    op.execute("DROP TABLE jobs, hours, hour_marks, input_references, inputs, erased_samples, erasures")
    op.execute("ALTER TABLE feedback ALTER COLUMN comment SET STATISTICS -1")
    op.execute("ALTER TABLE predictions DROP COLUMN bins")
    op.execute(
        "ALTER TABLE evaluations DROP COLUMN held_out, DROP COLUMN calibration_error, DROP COLUMN drift, "
        "DROP COLUMN report"
    )
    op.execute(
        "ALTER TABLE samples DROP COLUMN origin, DROP COLUMN subject, DROP COLUMN prediction_id, "
        "DROP COLUMN labelled_by"
    )
