-- The site database: what an agent must remember over a restart.

CREATE TABLE site (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- The installation that this site belongs to, pinned at the first link.
    installation uuid,
    -- The agent's process that may write; a later one takes it over.
    holder       uuid,
    -- The number of the newest report; reports are numbered without gaps.
    outbound_seq bigint NOT NULL DEFAULT 0
);
INSERT INTO site DEFAULT VALUES;

CREATE TABLE tracked_jobs (
    job           uuid PRIMARY KEY,
    cluster       text NOT NULL,
    owner         uuid NOT NULL,
    identity      text NOT NULL,
    spec          jsonb NOT NULL,
    phase         text NOT NULL CHECK (phase IN ('claimed', 'intent', 'held', 'releasing', 'released', 'closed')),
    attempt       integer NOT NULL DEFAULT 0,
    scheduler_id  text,
    submitted_at  timestamptz,
    cancel_wanted boolean NOT NULL DEFAULT false,
    told          jsonb NOT NULL DEFAULT '{}',
    claimed_at    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((scheduler_id IS NULL) = (submitted_at IS NULL))
);
-- Read whole at each start.
CREATE INDEX tracked_jobs_open ON tracked_jobs (claimed_at) WHERE phase <> 'closed';
-- Retention.
CREATE INDEX tracked_jobs_closed ON tracked_jobs (changed_at) WHERE phase = 'closed';

-- One row for each time something was sent to a scheduler.
CREATE TABLE attempts (
    job           uuid NOT NULL,
    attempt       integer NOT NULL,
    script_sha256 bytea NOT NULL,
    intended_at   timestamptz NOT NULL,
    PRIMARY KEY (job, attempt)
);
CREATE INDEX attempts_age ON attempts (intended_at);

-- Reports that the central side has not acknowledged.
CREATE TABLE outbound (
    seq  bigint PRIMARY KEY,
    item jsonb NOT NULL,
    at   timestamptz NOT NULL DEFAULT now()
);
