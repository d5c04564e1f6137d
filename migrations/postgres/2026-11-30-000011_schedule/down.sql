DROP INDEX integration_next_sync;
ALTER TABLE integration DROP COLUMN next_sync_us;
ALTER TABLE integration DROP COLUMN schedule;
