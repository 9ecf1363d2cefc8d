-- The central database. Frozen once released: later changes are later migrations.

-- One row: this installation. Its id is part of each job's mark in its scheduler.
CREATE TABLE installation (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;

-- People and programs ------------------------------------------------------------------------------------------------

CREATE TABLE users (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);

-- The secret itself is nowhere: only its digest.
CREATE TABLE tokens (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    note          text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz
);
CREATE INDEX tokens_user ON tokens (user_id);

-- Sites --------------------------------------------------------------------------------------------------------------

CREATE TABLE sites (
    name          text PRIMARY KEY,
    -- The link's number: calls of an older one are refused.
    epoch         bigint NOT NULL DEFAULT 0,
    -- The newest report that was applied.
    acked_seq     bigint NOT NULL DEFAULT 0,
    agent_version text,
    seen_at       timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE site_tokens (
    id            uuid PRIMARY KEY,
    site          text NOT NULL REFERENCES sites ON DELETE CASCADE,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz
);
CREATE INDEX site_tokens_site ON site_tokens (site);

CREATE TABLE link_sessions (
    id            uuid PRIMARY KEY,
    site          text NOT NULL REFERENCES sites ON DELETE CASCADE,
    -- Revoking it ends the session, too.
    site_token    uuid NOT NULL REFERENCES site_tokens ON DELETE CASCADE,
    epoch         bigint NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX link_sessions_expires ON link_sessions (expires_at);
CREATE INDEX link_sessions_site_token ON link_sessions (site_token);

CREATE TABLE clusters (
    name         text PRIMARY KEY,
    site         text NOT NULL REFERENCES sites,
    integration  text NOT NULL,
    rev          bigint NOT NULL DEFAULT 1,
    status       jsonb NOT NULL,
    -- Its site no longer declares it; its jobs remain.
    withdrawn_at timestamptz
);
CREATE INDEX clusters_site ON clusters (site);

-- Jobs ---------------------------------------------------------------------------------------------------------------

CREATE TABLE jobs (
    id               uuid PRIMARY KEY,
    owner            uuid NOT NULL REFERENCES users,
    cluster          text NOT NULL REFERENCES clusters,
    site             text NOT NULL,
    name             text COLLATE "C" NOT NULL,
    spec             jsonb NOT NULL,
    -- The spec's size as JSON: pages and claims are bounded by it without reading it.
    spec_bytes       integer NOT NULL,
    priority         integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    queued_at        timestamptz,
    state            text NOT NULL,
    run              bigint NOT NULL DEFAULT 0,
    rev              bigint NOT NULL DEFAULT 1,
    -- The site's report that was applied last.
    seq              bigint NOT NULL DEFAULT 0,
    -- The newest event.
    event_seq        bigint NOT NULL DEFAULT 0,
    freshness        text NOT NULL DEFAULT 'live' CHECK (freshness IN ('live', 'stale', 'missing')),
    reason           text,
    cancel_wanted_at timestamptz,
    scheduler_id     text,
    submitted_at     timestamptz,
    started_at       timestamptz,
    ended_at         timestamptz,
    exit_code        integer,
    exit_signal      integer,
    nodes            text,
    stdout_path      text,
    stderr_path      text,
    tasks_total      bigint
);
-- The claim: each owner's next job with one look.
CREATE INDEX jobs_queue ON jobs (cluster, owner, priority DESC, queued_at, id) WHERE state = 'queued';
-- What a site holds, and how many are in each state.
CREATE INDEX jobs_open ON jobs (site, state) WHERE ended_at IS NULL;
-- Pages of one owner's jobs.
CREATE INDEX jobs_owner_created ON jobs (owner, created_at, id);
CREATE INDEX jobs_owner_name ON jobs (owner, name, id);
-- The same for those that have not ended, which are few among many.
CREATE INDEX jobs_owner_open ON jobs (owner, created_at, id) WHERE ended_at IS NULL;
-- Retention.
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;

-- Which state may replace which in one statement. The code holds the same table, and a test compares them.
CREATE TABLE job_transitions (
    from_state text NOT NULL,
    to_state   text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO job_transitions (from_state, to_state) VALUES
    ('draft', 'queued'), ('draft', 'cancelled'),
    ('queued', 'submitting'), ('queued', 'cancelled'),
    ('submitting', 'pending'), ('submitting', 'running'), ('submitting', 'ending'), ('submitting', 'succeeded'),
    ('submitting', 'failed'), ('submitting', 'cancelled'), ('submitting', 'timed_out'),
    ('submitting', 'out_of_memory'), ('submitting', 'node_failed'), ('submitting', 'preempted'),
    ('submitting', 'rejected'), ('submitting', 'lost'),
    ('pending', 'running'), ('pending', 'ending'), ('pending', 'succeeded'), ('pending', 'failed'),
    ('pending', 'cancelled'), ('pending', 'timed_out'), ('pending', 'out_of_memory'), ('pending', 'node_failed'),
    ('pending', 'preempted'), ('pending', 'lost'),
    ('running', 'pending'), ('running', 'ending'), ('running', 'succeeded'), ('running', 'failed'),
    ('running', 'cancelled'), ('running', 'timed_out'), ('running', 'out_of_memory'), ('running', 'node_failed'),
    ('running', 'preempted'), ('running', 'lost'),
    ('ending', 'pending'), ('ending', 'running'), ('ending', 'succeeded'), ('ending', 'failed'),
    ('ending', 'cancelled'), ('ending', 'timed_out'), ('ending', 'out_of_memory'), ('ending', 'node_failed'),
    ('ending', 'preempted'), ('ending', 'lost'),
    ('lost', 'succeeded'), ('lost', 'failed'), ('lost', 'cancelled'), ('lost', 'timed_out'),
    ('lost', 'out_of_memory'), ('lost', 'node_failed'), ('lost', 'preempted');

CREATE FUNCTION jobs_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM job_transitions WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'job_transitions';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER jobs_check_transition BEFORE UPDATE OF state ON jobs
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION jobs_check_transition();

CREATE FUNCTION jobs_check_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a job cannot begin as %', NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'job_transitions';
END $$;
CREATE TRIGGER jobs_check_first BEFORE INSERT ON jobs
    FOR EACH ROW WHEN (NEW.state NOT IN ('draft', 'queued')) EXECUTE FUNCTION jobs_check_first();

CREATE TABLE job_tasks (
    job          uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    index        bigint NOT NULL,
    state        text NOT NULL,
    scheduler_id text,
    started_at   timestamptz,
    ended_at     timestamptz,
    exit_code    integer,
    exit_signal  integer,
    nodes        text,
    PRIMARY KEY (job, index)
);

CREATE TABLE job_events (
    job       uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    seq       bigint NOT NULL,
    at        timestamptz NOT NULL,
    run       bigint NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('state', 'cancel_wanted', 'freshness')),
    -- The state or freshness that it is about.
    value     text,
    message   text,
    PRIMARY KEY (job, seq)
);

-- The end of each log, for when its file is out of reach.
CREATE TABLE job_logs (
    job        uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    stream     text NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    -- The array task, or -1 for a job without.
    task       bigint NOT NULL,
    -- Where the tail begins in the file.
    file_offset bigint NOT NULL,
    body       bytea NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, stream, task)
);

-- The queue ----------------------------------------------------------------------------------------------------------

-- When an owner last had a job claimed: users take turns.
CREATE TABLE claim_turns (
    cluster   text NOT NULL REFERENCES clusters ON DELETE CASCADE,
    owner     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    served_at timestamptz NOT NULL,
    PRIMARY KEY (cluster, owner)
);

-- Answers of claims, so that the same request gets the same answer.
CREATE TABLE claims (
    request_id uuid PRIMARY KEY,
    site       text NOT NULL REFERENCES sites ON DELETE CASCADE,
    cluster    text NOT NULL,
    jobs       uuid[] NOT NULL,
    more       boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX claims_created ON claims (created_at);

CREATE TABLE idempotency_keys (
    user_id        uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    key            text COLLATE "C" NOT NULL,
    request_sha256 bytea NOT NULL,
    job            uuid NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- Who did what -------------------------------------------------------------------------------------------------------

CREATE TABLE audit (
    id         bigserial PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    -- user:<name>, site:<name>, or operator for the commands of the service's account.
    actor      text NOT NULL,
    action     text NOT NULL,
    object     text NOT NULL,
    -- `ok`, or the code of the problem that was answered.
    result     text NOT NULL,
    request_id text NOT NULL,
    peer       text NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, at);
