ALTER INDEX integration_credential RENAME TO integration_grant;
ALTER TABLE integration RENAME COLUMN credential_id TO grant_id;
ALTER INDEX credentials_refused RENAME TO grants_refused;
ALTER INDEX credentials_account RENAME TO grants_account;
ALTER TABLE credentials RENAME TO grants;
