-- Sites prove who they are with a key of their own, which they register once.

-- What an operator hands to a site: good once, and not for long.
CREATE TABLE enrolment_tokens (
    id            uuid PRIMARY KEY,
    site          text NOT NULL REFERENCES sites ON DELETE CASCADE,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    used_at       timestamptz,
    -- The key that it was used for: an answer that was lost is given again to that key alone.
    used_for      bytea CHECK (octet_length(used_for) = 32),
    revoked_at    timestamptz
);
CREATE INDEX enrolment_tokens_site ON enrolment_tokens (site);
CREATE INDEX enrolment_tokens_expires ON enrolment_tokens (expires_at);

-- Public keys, of Ed25519. A key belongs to one site for ever.
CREATE TABLE site_keys (
    id         uuid PRIMARY KEY,
    site       text NOT NULL REFERENCES sites ON DELETE CASCADE,
    public_key bytea NOT NULL UNIQUE CHECK (octet_length(public_key) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX site_keys_site ON site_keys (site);

-- Statements that were accepted, until they end by themselves: each is good once, at any replica.
CREATE TABLE link_statements (
    key        uuid NOT NULL REFERENCES site_keys ON DELETE CASCADE,
    jti        uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (key, jti)
);
CREATE INDEX link_statements_expires ON link_statements (expires_at);

-- Links are the keys' now. Those of tokens end; their agents enrol.
DROP TABLE link_sessions;
DROP TABLE site_tokens;
CREATE TABLE link_sessions (
    id            uuid PRIMARY KEY,
    site          text NOT NULL REFERENCES sites ON DELETE CASCADE,
    -- Revoking it ends the session, too.
    site_key      uuid NOT NULL REFERENCES site_keys ON DELETE CASCADE,
    epoch         bigint NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX link_sessions_expires ON link_sessions (expires_at);
CREATE INDEX link_sessions_site_key ON link_sessions (site_key);

-- The agent's process that opened the newest link.
ALTER TABLE sites ADD COLUMN process uuid;

-- The view-servers that run, and whose tunnels end at them. One row each, written anew every few seconds.
CREATE TABLE replicas (
    id      uuid PRIMARY KEY,
    -- Where the others reach it, and its certificate's key.
    url     text NOT NULL,
    pin     text,
    sites   text[] NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX replicas_seen ON replicas (seen_at);

-- By which one view-server knows another: whoever can write here is one.
CREATE TABLE replica_tokens (
    id            uuid PRIMARY KEY,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX replica_tokens_expires ON replica_tokens (expires_at);
