-- Which clock read_us is of: times of two clocks are not compared. 0 is not known, as for all rows until now; 1 is the
-- CRM's; any other is the monotonic clock of one process.

ALTER TABLE record ADD COLUMN read_clock BIGINT NOT NULL DEFAULT 0;
