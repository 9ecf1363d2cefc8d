-- The feed table. Frozen: its checksum is in every database that has it.
CREATE TABLE feed (
    id    bigserial NOT NULL,
    xid   xid8 NOT NULL DEFAULT pg_current_xact_id(),
    topic text NOT NULL,
    kind  text NOT NULL,
    key   text NOT NULL,
    rev   bigint NOT NULL,
    body  jsonb NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xid, id)
);
CREATE INDEX feed_topic ON feed (topic, xid, id);

-- One row. A cursor is good only in the epoch that made it: transaction ids mean something only within one run of one
-- instance, named by `instance` (system identifier and timeline). `pruned_*` is the last position that was deleted.
CREATE TABLE feed_meta (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch      bigint NOT NULL,
    instance   text NOT NULL,
    pruned_xid xid8 NOT NULL DEFAULT '0',
    pruned_id  bigint NOT NULL DEFAULT 0
);
INSERT INTO feed_meta (epoch, instance)
SELECT ('x' || left(replace(gen_random_uuid()::text, '-', ''), 12))::bit(48)::bigint,
       (SELECT system_identifier FROM pg_control_system()) || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
