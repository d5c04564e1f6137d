-- When rows of which some fields were read were last stored, and by which clock: a live read from before may lack what they have.
ALTER TABLE data_set ADD COLUMN partial_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE data_set ADD COLUMN partial_clock BIGINT NOT NULL DEFAULT 0;

-- How often the integration changed its account: what was read as another one is not gone on from, also if the first one comes back.
ALTER TABLE integration ADD COLUMN account_no BIGINT NOT NULL DEFAULT 0;

-- How much a sync was asked to read, which it decides again if it has to begin again.
ALTER TABLE sync ADD COLUMN asked TEXT NOT NULL DEFAULT 'AUTO';
-- How long workers had it, up to the time at which its progress was last stored.
ALTER TABLE sync ADD COLUMN busy_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sync ADD COLUMN update_us BIGINT NOT NULL DEFAULT 0;
UPDATE sync SET update_us = COALESCE(end_us, start_us, create_us);
