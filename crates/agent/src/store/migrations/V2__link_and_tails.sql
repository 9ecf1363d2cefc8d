-- What is known of the link. In a table of its own: the journal locks the site's row.
CREATE TABLE link (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- The newest report that was sent, whether or not an answer came. A central side that has
    -- applied more than this database ever sent tells that the database is an older copy.
    sent_seq bigint NOT NULL
);
INSERT INTO link (sent_seq) SELECT outbound_seq FROM site;

-- From when on the end of an ended job's log may be fetched; null where none is wanted (any more).
ALTER TABLE tracked_jobs ADD COLUMN tail_due timestamptz;
CREATE INDEX tracked_jobs_tails ON tracked_jobs (cluster, identity, tail_due) WHERE tail_due IS NOT NULL;
