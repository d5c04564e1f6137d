DROP TABLE removal;
ALTER TABLE sync_object DROP COLUMN held;
ALTER TABLE sync_object DROP COLUMN added;
ALTER TABLE sync_object DROP COLUMN tries;
ALTER TABLE sync DROP COLUMN confirm_us;
ALTER TABLE sync DROP COLUMN confirms;
ALTER TABLE sync DROP COLUMN missing;
ALTER TABLE sync DROP COLUMN change_no;
ALTER TABLE sync DROP COLUMN tries;
