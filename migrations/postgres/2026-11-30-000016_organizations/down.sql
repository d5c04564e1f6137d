DROP INDEX sync_queued;
DROP INDEX sync_turn;
DROP INDEX sync_running;
ALTER TABLE sync DROP COLUMN turn;
ALTER TABLE sync DROP COLUMN organization;
DROP TABLE organization;
