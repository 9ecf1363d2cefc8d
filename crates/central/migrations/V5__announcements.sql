-- What the operators have to say to everybody. Frozen once released.

CREATE TABLE announcements (
    id           uuid PRIMARY KEY,
    rev          bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    level        text NOT NULL CHECK (level IN ('info', 'warning')),
    body         text NOT NULL,
    -- When it ends by itself.
    until        timestamptz,
    withdrawn_at timestamptz
);
CREATE INDEX announcements_created ON announcements (created_at);
