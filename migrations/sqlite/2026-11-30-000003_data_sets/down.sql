DROP INDEX sync_fence;
ALTER TABLE integration DROP COLUMN data_database;
ALTER TABLE integration ADD COLUMN change_no BIGINT NOT NULL DEFAULT 0;
UPDATE integration SET change_no = coalesce((SELECT d.change_no FROM data_set d WHERE d.integration_id = integration.id), 0);
INSERT INTO meta SELECT 'forgotten ' || integration_id, CAST(forgotten_no AS TEXT) FROM data_set WHERE forgotten_no > 0;
DROP TABLE data_object;
DROP TABLE data_set;
