-- Sign-ins of the page. (A "session" in a job is another thing.)

CREATE TABLE page_sessions (
    id            uuid PRIMARY KEY,
    -- What it was opened with: revoking that ends the session, too.
    token         uuid NOT NULL REFERENCES tokens ON DELETE CASCADE,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- Written once a minute at most.
    used_at       timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX page_sessions_token ON page_sessions (token, created_at);
CREATE INDEX page_sessions_expires ON page_sessions (expires_at);
