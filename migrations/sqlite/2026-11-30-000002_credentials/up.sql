-- One name for one thing: the sealed login of an account is a credential; grant is OAuth's word.
DROP INDEX grants_account;
DROP INDEX grants_refused;
DROP INDEX integration_grant;
ALTER TABLE grants RENAME TO credentials;
ALTER TABLE integration RENAME COLUMN grant_id TO credential_id;
CREATE UNIQUE INDEX credentials_account
    ON credentials (connector, organization_id, user_id, auth_kind, client_id);
CREATE INDEX credentials_refused ON credentials (next_try_us) WHERE refusal_kind <> '';
CREATE INDEX integration_credential ON integration (credential_id) WHERE credential_id IS NOT NULL;
