-- Under which start of its scheduler's controller a job was last seen let go: one that is
-- held under a later one was let go by a moment that the controller lost.
ALTER TABLE tracked_jobs ADD COLUMN seen_under timestamptz;
