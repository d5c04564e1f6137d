-- The first shape of the database. Times are unix microseconds; ids and keys compare by bytes.

CREATE TABLE groups (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL,
    create_us BIGINT NOT NULL,
    update_us BIGINT NOT NULL
);

-- One row for both directions: group_a is the smaller id.
CREATE TABLE group_connection (
    group_a TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    group_b TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    create_us BIGINT NOT NULL,
    PRIMARY KEY (group_a, group_b),
    CHECK (group_a < group_b)
);
CREATE INDEX group_connection_b ON group_connection (group_b, group_a);

CREATE TABLE connector_enablement (
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    connector TEXT COLLATE "C" NOT NULL,
    enabled BOOLEAN NOT NULL,
    update_us BIGINT NOT NULL,
    update_by TEXT NOT NULL,
    PRIMARY KEY (group_id, connector)
);

-- One grant for each (way to log in, client, organization, user); shared by the integrations of that account.
CREATE TABLE grants (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    connector TEXT COLLATE "C" NOT NULL,
    auth_kind TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    organization_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    organization_name TEXT NOT NULL,
    username TEXT NOT NULL,
    user_display_name TEXT NOT NULL,
    base_url TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    refreshable BOOLEAN NOT NULL,
    generation BIGINT NOT NULL,
    lease_owner TEXT COLLATE "C",
    lease_until_us BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    create_us BIGINT NOT NULL,
    update_us BIGINT NOT NULL,
    refresh_us BIGINT
);
CREATE UNIQUE INDEX grants_account ON grants (connector, organization_id, user_id, auth_kind, client_id);

CREATE TABLE integration (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id),
    connector TEXT COLLATE "C" NOT NULL,
    display_name TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    state_reason TEXT COLLATE "C" NOT NULL,
    state_message TEXT NOT NULL,
    state_us BIGINT NOT NULL,
    settings TEXT NOT NULL,
    grant_id TEXT COLLATE "C" REFERENCES grants (id),
    generation BIGINT NOT NULL,
    change_no BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    create_us BIGINT NOT NULL,
    create_by TEXT NOT NULL,
    update_us BIGINT NOT NULL,
    activate_us BIGINT,
    expire_us BIGINT,
    company_records BIGINT,
    last_success_us BIGINT
);
CREATE UNIQUE INDEX integration_name ON integration (group_id, name_key) WHERE state <> 'DELETING';
CREATE UNIQUE INDEX integration_label ON integration (group_id, label) WHERE state <> 'DELETING';
CREATE INDEX integration_group ON integration (group_id, create_us, id);
CREATE INDEX integration_grant ON integration (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX integration_expire ON integration (expire_us) WHERE expire_us IS NOT NULL;

-- The selected fields.
CREATE TABLE integration_field (
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    object TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    label TEXT NOT NULL,
    field_type TEXT COLLATE "C" NOT NULL,
    describe TEXT NOT NULL,
    position BIGINT NOT NULL,
    missing_us BIGINT,
    PRIMARY KEY (integration_id, object, key)
);

-- Logins under way: single use, some minutes.
CREATE TABLE "authorization" (
    state_hash TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    group_id TEXT COLLATE "C" NOT NULL,
    create_by TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    redirect_uri TEXT NOT NULL,
    landing TEXT COLLATE "C" NOT NULL,
    callback BYTEA,
    create_us BIGINT NOT NULL,
    expire_us BIGINT NOT NULL,
    used_us BIGINT
);
CREATE INDEX authorization_integration ON "authorization" (integration_id);
CREATE INDEX authorization_expire ON "authorization" (expire_us);

-- What a request id of a caller led to.
CREATE TABLE request (
    group_id TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    result TEXT NOT NULL,
    create_us BIGINT NOT NULL,
    PRIMARY KEY (group_id, method, request_id)
);
CREATE INDEX request_create ON request (create_us);

-- What has to be told to a CRM, until it was.
CREATE TABLE outbox (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    detail TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    due_us BIGINT NOT NULL,
    lease_owner TEXT COLLATE "C",
    done_us BIGINT,
    last_error TEXT NOT NULL,
    create_us BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (due_us, id) WHERE done_us IS NULL;
CREATE INDEX outbox_done ON outbox (done_us) WHERE done_us IS NOT NULL;

CREATE TABLE sync (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    "trigger" TEXT COLLATE "C" NOT NULL,
    create_us BIGINT NOT NULL,
    create_by TEXT NOT NULL,
    start_us BIGINT,
    end_us BIGINT,
    -- When a worker may take it: at once when queued, at the end of the wait, or of the lease.
    due_us BIGINT NOT NULL,
    lease_owner TEXT COLLATE "C",
    fence BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    checkpoint BYTEA,
    checkpoint_seq BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    bytes BIGINT NOT NULL,
    api_calls BIGINT NOT NULL,
    error_reason TEXT COLLATE "C" NOT NULL,
    error_message TEXT NOT NULL,
    note TEXT NOT NULL
);
CREATE UNIQUE INDEX sync_unfinished ON sync (integration_id) WHERE state IN ('QUEUED', 'RUNNING', 'WAITING');
CREATE INDEX sync_due ON sync (due_us, id) WHERE state IN ('QUEUED', 'RUNNING', 'WAITING');
CREATE INDEX sync_integration ON sync (integration_id, create_us, id);
CREATE INDEX sync_end ON sync (end_us) WHERE end_us IS NOT NULL;

CREATE TABLE sync_object (
    sync_id TEXT COLLATE "C" NOT NULL REFERENCES sync (id) ON DELETE CASCADE,
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
    PRIMARY KEY (sync_id, object)
);

-- The records. No foreign key: they come by the thousand and go in small batches after their integration.
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

CREATE TABLE tracked_company (
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    company_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    homepage TEXT NOT NULL,
    create_us BIGINT NOT NULL,
    create_by TEXT NOT NULL,
    PRIMARY KEY (group_id, company_id)
);
CREATE INDEX tracked_company_name ON tracked_company (group_id, name_key, company_id);

CREATE TABLE meta (
    key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
