DROP INDEX grants_refused;
ALTER TABLE grants DROP COLUMN next_try_us;
ALTER TABLE grants DROP COLUMN try_us;
ALTER TABLE grants DROP COLUMN refusal_us;
ALTER TABLE grants DROP COLUMN refusal_count;
ALTER TABLE grants DROP COLUMN refusal_message;
ALTER TABLE grants DROP COLUMN refusal_code;
ALTER TABLE grants DROP COLUMN refusal_kind;
