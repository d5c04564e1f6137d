-- Why the last refreshes of a grant failed, and when the next one may be tried: read by every replica.

ALTER TABLE grants ADD COLUMN refusal_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN refusal_code TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN refusal_message TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN refusal_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN refusal_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN try_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN next_try_us BIGINT NOT NULL DEFAULT 0;
CREATE INDEX grants_refused ON grants (next_try_us) WHERE refusal_kind <> '';
