DROP TABLE activation;
DROP TABLE share_field;
DROP TABLE share;
ALTER TABLE integration ADD COLUMN label TEXT NOT NULL DEFAULT '';
UPDATE integration SET label = COALESCE(
    (SELECT s.label FROM source s WHERE s.integration_id = integration.id AND s.group_id = integration.group_id), id);
CREATE UNIQUE INDEX integration_label ON integration (group_id, label) WHERE state <> 'DELETING';
DROP TABLE source;
ALTER TABLE groups DROP COLUMN delete_us;
