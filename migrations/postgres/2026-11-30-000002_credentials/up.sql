-- One name for one thing: the sealed login of an account is a credential; grant is OAuth's word.
ALTER TABLE grants RENAME TO credentials;
ALTER INDEX grants_account RENAME TO credentials_account;
ALTER INDEX grants_refused RENAME TO credentials_refused;
ALTER TABLE integration RENAME COLUMN grant_id TO credential_id;
ALTER INDEX integration_grant RENAME TO integration_credential;
