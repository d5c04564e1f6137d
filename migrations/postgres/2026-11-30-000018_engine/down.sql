ALTER TABLE sync DROP COLUMN update_us;
ALTER TABLE sync DROP COLUMN busy_us;
ALTER TABLE sync DROP COLUMN asked;
ALTER TABLE integration DROP COLUMN account_no;
ALTER TABLE data_set DROP COLUMN partial_clock;
ALTER TABLE data_set DROP COLUMN partial_us;
