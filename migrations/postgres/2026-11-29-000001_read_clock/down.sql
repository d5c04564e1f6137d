ALTER TABLE record DROP COLUMN read_clock;
