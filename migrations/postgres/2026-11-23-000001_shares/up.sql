-- Sharing: how each group uses what it owns or receives, what is shared with whom, active and passive.

ALTER TABLE groups ADD COLUMN delete_us BIGINT;

-- An integration as one group uses it: the owner from its creation, a receiver while it is shared with it.
CREATE TABLE source (
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    label TEXT COLLATE "C" NOT NULL,
    connected BOOLEAN NOT NULL,
    create_us BIGINT NOT NULL,
    PRIMARY KEY (group_id, integration_id)
);
CREATE UNIQUE INDEX source_label ON source (group_id, label);
CREATE INDEX source_integration ON source (integration_id, group_id);

INSERT INTO source (group_id, integration_id, label, connected, create_us)
    SELECT group_id, id, label, TRUE, create_us FROM integration WHERE state <> 'DELETING';
DROP INDEX integration_label;
ALTER TABLE integration DROP COLUMN label;

CREATE TABLE share (
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    all_active BOOLEAN NOT NULL,
    create_us BIGINT NOT NULL,
    create_by TEXT NOT NULL,
    update_us BIGINT NOT NULL,
    PRIMARY KEY (integration_id, group_id)
);
CREATE INDEX share_group ON share (group_id, integration_id);

-- The listed fields of a share that is not of all active ones.
CREATE TABLE share_field (
    integration_id TEXT COLLATE "C" NOT NULL,
    group_id TEXT COLLATE "C" NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (integration_id, group_id, object, key),
    FOREIGN KEY (integration_id, group_id) REFERENCES share (integration_id, group_id) ON DELETE CASCADE
);

-- What a group decided of a field; without a row the owner's are active and received ones passive.
CREATE TABLE activation (
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    object TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    active BOOLEAN NOT NULL,
    PRIMARY KEY (integration_id, group_id, object, key)
);
CREATE INDEX activation_group ON activation (group_id);
