ALTER TABLE integration_field DROP COLUMN select_us;
ALTER TABLE sync DROP COLUMN mode;
DROP TABLE data_wanted;
DROP TABLE data_read;
ALTER TABLE data_set DROP COLUMN plan;
ALTER TABLE data_set DROP COLUMN mode;
ALTER TABLE data_set DROP COLUMN account;
ALTER TABLE data_set DROP COLUMN state;
