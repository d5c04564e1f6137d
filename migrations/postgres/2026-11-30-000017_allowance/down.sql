ALTER TABLE integration DROP COLUMN budget_reserve;
ALTER TABLE integration DROP COLUMN budget_calls;
ALTER TABLE organization DROP COLUMN calls_us;
ALTER TABLE organization DROP COLUMN calls_limit;
ALTER TABLE organization DROP COLUMN calls_used;
DROP TABLE api_usage;
