-- When an account was last logged into: until now the first time stood for it.

ALTER TABLE grants ADD COLUMN log_in_us BIGINT NOT NULL DEFAULT 0;
UPDATE grants SET log_in_us = create_us;
