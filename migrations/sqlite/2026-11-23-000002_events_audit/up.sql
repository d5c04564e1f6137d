-- What happened to a group's integrations, for streams that go on where they broke. Numbers are given out under the
-- lock of the head's row, which is held until commit: no gap is ever visible, so the last number seen is a place to
-- go on from.
CREATE TABLE group_event_head (
    group_id TEXT NOT NULL PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    last_no BIGINT NOT NULL,
    purged_no BIGINT NOT NULL
);

CREATE TABLE group_event (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    event_no BIGINT NOT NULL,
    kind TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    create_us BIGINT NOT NULL,
    PRIMARY KEY (group_id, event_no)
);
CREATE INDEX group_event_create ON group_event (create_us, group_id, event_no);

-- Who changed what. No foreign key: entries outlive what they speak of, the group included.
CREATE TABLE audit_entry (
    id TEXT NOT NULL PRIMARY KEY,
    group_id TEXT NOT NULL,
    create_us BIGINT NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    resource TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_entry_group ON audit_entry (group_id, create_us, id);
CREATE INDEX audit_entry_resource ON audit_entry (group_id, resource, create_us, id);
CREATE INDEX audit_entry_create ON audit_entry (create_us, id);
