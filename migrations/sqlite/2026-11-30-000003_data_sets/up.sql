-- An integration's data set: records, links, marks of removal and the two tables below. It shares no transaction with the
-- other tables (control), has no foreign key to them, and may stand in another database (integration.data_database).

CREATE TABLE data_set (
    integration_id TEXT NOT NULL PRIMARY KEY,
    -- Rows read for an older generation are not written.
    generation BIGINT NOT NULL,
    -- The last change number given to a record, and the last one whose tombstone was deleted.
    change_no BIGINT NOT NULL,
    forgotten_no BIGINT NOT NULL,
    -- The sync that claimed the data set, and its fencing token. A commit with a lower token is refused; up to stop_fence
    -- every commit is.
    sync_id TEXT,
    fence BIGINT NOT NULL,
    stop_fence BIGINT NOT NULL,
    -- What that sync has stored.
    checkpoint BLOB,
    checkpoint_seq BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    api_calls BIGINT NOT NULL,
    -- JSON arrays of [object, field], and of [object, field, type].
    missing TEXT NOT NULL,
    field_types TEXT NOT NULL
);

-- The objects of that sync.
CREATE TABLE data_object (
    integration_id TEXT NOT NULL,
    object TEXT NOT NULL,
    position BIGINT NOT NULL,
    state TEXT NOT NULL,
    expected BIGINT,
    read BIGINT NOT NULL,
    written BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    error_reason TEXT NOT NULL,
    error_message TEXT NOT NULL,
    tries BIGINT NOT NULL,
    added BIGINT NOT NULL,
    held BIGINT NOT NULL,
    PRIMARY KEY (integration_id, object)
);

INSERT INTO data_set
SELECT
    i.id, i.generation, i.change_no,
    coalesce((SELECT CAST(m.value AS BIGINT) FROM meta m WHERE m.key = 'forgotten ' || i.id), 0),
    s.id, coalesce(s.fence, 0), 0, s.checkpoint, coalesce(s.checkpoint_seq, 0), coalesce(s.bytes, 0),
    coalesce(s.api_calls, 0), '[]', '[]'
FROM integration i
LEFT JOIN sync s
    ON s.integration_id = i.id AND s.generation = i.generation AND s.state IN ('QUEUED', 'RUNNING', 'WAITING')
WHERE i.state <> 'DRAFT';

INSERT INTO data_object
SELECT
    d.integration_id, o.object, o.position, o.state, o.expected, o.read, o.written, o.unchanged, o.removed,
    o.error_reason, o.error_message, o.tries, o.added, o.held
FROM data_set d
JOIN sync_object o ON o.sync_id = d.sync_id;

DELETE FROM meta WHERE key LIKE 'forgotten %';
ALTER TABLE integration DROP COLUMN change_no;
-- The database of the data set, by its name in database.data; empty for this one.
ALTER TABLE integration ADD COLUMN data_database TEXT NOT NULL DEFAULT '';
-- Fencing tokens grow over all syncs of an integration: a new one goes on from the greatest.
CREATE INDEX sync_fence ON sync (integration_id, fence);
