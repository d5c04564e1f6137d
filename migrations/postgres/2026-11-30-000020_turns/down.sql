DROP INDEX organization_resume;
ALTER TABLE organization DROP COLUMN resume_us;
ALTER TABLE organization DROP COLUMN probe_until_us;
ALTER TABLE organization DROP COLUMN probe;
DROP INDEX sync_waiting;
DROP TABLE sync_turn;
ALTER TABLE sync ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sync_turn ON sync (turn, due_us, id) WHERE state IN ('QUEUED', 'RUNNING', 'WAITING');
CREATE INDEX sync_queued ON sync (turn) WHERE state = 'QUEUED';
