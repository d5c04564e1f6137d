-- What the next sync goes on from: the last checkpoint of earlier ones, and the account of which it is.
ALTER TABLE data_set ADD COLUMN state BLOB;
ALTER TABLE data_set ADD COLUMN account TEXT NOT NULL DEFAULT '';
-- What the sync that claimed the data set reads.
ALTER TABLE data_set ADD COLUMN mode TEXT NOT NULL DEFAULT 'AUTO';
ALTER TABLE data_set ADD COLUMN plan BLOB;

-- What was read of an object, up to its end, for all of its records.
CREATE TABLE data_read (
    integration_id TEXT NOT NULL,
    object TEXT NOT NULL,
    -- The selected fields, with a digest of how each was selected: a JSON object.
    fields TEXT NOT NULL,
    -- When calculated fields were last read, and when all ids were last listed.
    calculated_us BIGINT NOT NULL,
    sweep_us BIGINT NOT NULL,
    PRIMARY KEY (integration_id, object)
);

-- Records that the CRM has and the data set lacks, or has in an older state: they are read by id.
CREATE TABLE data_wanted (
    integration_id TEXT NOT NULL,
    object TEXT NOT NULL,
    external_id TEXT NOT NULL,
    PRIMARY KEY (integration_id, object, external_id)
);

-- How much a sync reads. All earlier ones read everything.
ALTER TABLE sync ADD COLUMN mode TEXT NOT NULL DEFAULT 'FULL';

-- Since when a field is selected: values that were read before do not count.
ALTER TABLE integration_field ADD COLUMN select_us BIGINT NOT NULL DEFAULT 0;
