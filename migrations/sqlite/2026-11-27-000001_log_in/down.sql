ALTER TABLE grants DROP COLUMN log_in_us;
