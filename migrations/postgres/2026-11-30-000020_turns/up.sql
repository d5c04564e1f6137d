-- Turns were given to syncs when they were queued.
DROP INDEX sync_queued;
DROP INDEX sync_turn;
ALTER TABLE sync DROP COLUMN turn;
-- When a sync of a group last started, and of a group for an organization (connector/organization_id), as a number of a row of
-- starts: the one that started longest ago is next. The row without a group has the last number; workers that take a sync lock it.
CREATE TABLE sync_turn (
    group_id TEXT COLLATE "C" NOT NULL,
    organization TEXT COLLATE "C" NOT NULL,
    started BIGINT NOT NULL,
    PRIMARY KEY (group_id, organization)
);
INSERT INTO sync_turn VALUES ('', '', 0);
-- Syncs that may go on because the CRM of their organization answers again.
CREATE INDEX sync_waiting ON sync (organization) WHERE state = 'WAITING';

-- Who finds out whether the CRM answers again: a sync, or a live read until this time. Others wait meanwhile.
ALTER TABLE organization ADD COLUMN probe TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE organization ADD COLUMN probe_until_us BIGINT NOT NULL DEFAULT 0;
-- When the CRM answered again, until the syncs that wait for it were made due; else 0.
ALTER TABLE organization ADD COLUMN resume_us BIGINT NOT NULL DEFAULT 0;
CREATE INDEX organization_resume ON organization (connector, organization_id) WHERE resume_us > 0;
