-- Another name for keys that cannot be written in filters without quotes. Fields that are selected already get one
-- with the next sync.
ALTER TABLE integration_field ADD COLUMN alias TEXT NOT NULL DEFAULT '';
