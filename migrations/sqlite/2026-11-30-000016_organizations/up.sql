-- A customer's organization at a CRM, with what all its accounts share: the CRM's limits and outages. Whoever starts a sync locks
-- its row, so that no two count the same place as free.
CREATE TABLE organization (
    connector TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    -- Calls in a row that failed because the CRM was slow or down, when the last one did, and until when no sync starts.
    failures BIGINT NOT NULL,
    failure_us BIGINT NOT NULL,
    closed_until_us BIGINT NOT NULL,
    -- Calls in a row that the CRM refused because the allowance is used up, when the last one was, and until when none is made.
    refusals BIGINT NOT NULL,
    refusal_us BIGINT NOT NULL,
    refused_until_us BIGINT NOT NULL,
    PRIMARY KEY (connector, organization_id)
);
INSERT INTO organization
SELECT DISTINCT connector, organization_id, 0, 0, 0, 0, 0, 0 FROM credentials;

-- The organization that a running sync reads, as connector/organization_id: of each, few run at a time.
ALTER TABLE sync ADD COLUMN organization TEXT NOT NULL DEFAULT '';
CREATE INDEX sync_running ON sync (organization, due_us) WHERE state = 'RUNNING';
-- The order in which syncs start: those of a group have increasing turns, so that groups take turns.
ALTER TABLE sync ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sync_turn ON sync (turn, due_us, id) WHERE state IN ('QUEUED', 'RUNNING', 'WAITING');
CREATE INDEX sync_queued ON sync (turn) WHERE state = 'QUEUED';
