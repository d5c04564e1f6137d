-- When an integration syncs by itself, and the time of its next sync. Integrations of earlier versions go on as they did: on
-- request only.
ALTER TABLE integration ADD COLUMN schedule TEXT NOT NULL DEFAULT 'MANUAL';
ALTER TABLE integration ADD COLUMN next_sync_us BIGINT;
CREATE INDEX integration_next_sync ON integration (next_sync_us, id) WHERE next_sync_us IS NOT NULL AND state = 'ACTIVE';
