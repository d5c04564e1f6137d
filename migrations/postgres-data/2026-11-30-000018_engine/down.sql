ALTER TABLE data_set DROP COLUMN partial_clock;
ALTER TABLE data_set DROP COLUMN partial_us;
