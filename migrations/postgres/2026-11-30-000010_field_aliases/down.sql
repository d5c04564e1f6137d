ALTER TABLE integration_field DROP COLUMN alias;
