-- A sync says what it did: how often it was tried, what it went without, and what of a listing is held back.

-- How often it was taken since it last got on; attempt counts from its beginning now.
ALTER TABLE sync ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
-- The integration's change number when the sync last stored something, or ended.
ALTER TABLE sync ADD COLUMN change_no BIGINT NOT NULL DEFAULT 0;
-- Fields that were missing in any attempt: a JSON array of "Object.Field".
ALTER TABLE sync ADD COLUMN missing TEXT NOT NULL DEFAULT '[]';
-- The sync whose held-back removal a person confirmed, and when that one ended.
ALTER TABLE sync ADD COLUMN confirms TEXT;
ALTER TABLE sync ADD COLUMN confirm_us BIGINT;

-- How often the object's reading broke off for a reason that passes.
ALTER TABLE sync_object ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
-- Rows that were not known, or gone, before.
ALTER TABLE sync_object ADD COLUMN added BIGINT NOT NULL DEFAULT 0;
-- Rows that the listing lacks and that were not removed.
ALTER TABLE sync_object ADD COLUMN held BIGINT NOT NULL DEFAULT 0;

-- Rows that a listing lacks. first_us is when the first listing that was whole lacked them; unset until one was.
CREATE TABLE removal (
    integration_id TEXT NOT NULL,
    object TEXT NOT NULL,
    external_id TEXT NOT NULL,
    sync_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    read_us BIGINT NOT NULL,
    read_clock BIGINT NOT NULL,
    first_us BIGINT,
    PRIMARY KEY (integration_id, object, external_id)
);
