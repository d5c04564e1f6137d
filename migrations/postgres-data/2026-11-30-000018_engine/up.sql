-- When rows of which some fields were read were last stored, and by which clock: a live read from before may lack what they have.
ALTER TABLE data_set ADD COLUMN partial_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE data_set ADD COLUMN partial_clock BIGINT NOT NULL DEFAULT 0;
