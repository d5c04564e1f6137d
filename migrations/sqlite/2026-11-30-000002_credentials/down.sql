DROP INDEX credentials_account;
DROP INDEX credentials_refused;
DROP INDEX integration_credential;
ALTER TABLE integration RENAME COLUMN credential_id TO grant_id;
ALTER TABLE credentials RENAME TO grants;
CREATE UNIQUE INDEX grants_account ON grants (connector, organization_id, user_id, auth_kind, client_id);
CREATE INDEX grants_refused ON grants (next_try_us) WHERE refusal_kind <> '';
CREATE INDEX integration_grant ON integration (grant_id) WHERE grant_id IS NOT NULL;
