-- The data sets of integrations, in a database that has nothing else (`database.data`): the same tables as in the database
-- of control.

CREATE TABLE record (
    integration_id TEXT COLLATE "C" NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C",
    name TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    homepage TEXT,
    payload TEXT NOT NULL,
    hash BIGINT NOT NULL,
    modified_us BIGINT NOT NULL,
    read_us BIGINT NOT NULL,
    delete_us BIGINT,
    merged_into TEXT COLLATE "C",
    change_no BIGINT NOT NULL,
    read_clock BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (integration_id, object, external_id)
);
CREATE INDEX record_change ON record (integration_id, change_no);
CREATE INDEX record_company_name ON record (integration_id, name_key, company_id)
    WHERE company_id IS NOT NULL AND delete_us IS NULL;
CREATE INDEX record_company ON record (integration_id, company_id)
    WHERE company_id IS NOT NULL AND delete_us IS NULL;
CREATE INDEX record_tombstone ON record (integration_id, delete_us) WHERE delete_us IS NOT NULL;

CREATE TABLE record_link (
    integration_id TEXT COLLATE "C" NOT NULL,
    child_object TEXT COLLATE "C" NOT NULL,
    child_id TEXT COLLATE "C" NOT NULL,
    parent_object TEXT COLLATE "C" NOT NULL,
    parent_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (integration_id, child_object, child_id, parent_object, parent_id)
);
CREATE INDEX record_link_parent ON record_link (integration_id, parent_object, parent_id, child_object, child_id);

CREATE TABLE removal (
    integration_id TEXT NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    sync_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    read_us BIGINT NOT NULL,
    read_clock BIGINT NOT NULL,
    first_us BIGINT,
    PRIMARY KEY (integration_id, object, external_id)
);

CREATE TABLE data_set (
    integration_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- Rows read for an older generation are not written.
    generation BIGINT NOT NULL,
    -- The last change number given to a record, and the last one whose tombstone was deleted.
    change_no BIGINT NOT NULL,
    forgotten_no BIGINT NOT NULL,
    -- The sync that claimed the data set, and its fencing token. A commit with a lower token is refused; up to stop_fence
    -- every commit is.
    sync_id TEXT COLLATE "C",
    fence BIGINT NOT NULL,
    stop_fence BIGINT NOT NULL,
    -- What that sync has stored.
    checkpoint BYTEA,
    checkpoint_seq BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    api_calls BIGINT NOT NULL,
    -- JSON arrays of [object, field], and of [object, field, type].
    missing TEXT NOT NULL,
    field_types TEXT NOT NULL
);

-- The objects of that sync.
CREATE TABLE data_object (
    integration_id TEXT COLLATE "C" NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    expected BIGINT,
    read BIGINT NOT NULL,
    written BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    error_reason TEXT COLLATE "C" NOT NULL,
    error_message TEXT NOT NULL,
    tries BIGINT NOT NULL,
    added BIGINT NOT NULL,
    held BIGINT NOT NULL,
    PRIMARY KEY (integration_id, object)
);
