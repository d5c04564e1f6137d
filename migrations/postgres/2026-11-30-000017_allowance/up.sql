-- The API calls of an integration on a day (UTC): its number since 1970, or -1 for the sum of all days.
CREATE TABLE api_usage (
    integration_id TEXT COLLATE "C" NOT NULL REFERENCES integration (id) ON DELETE CASCADE,
    day BIGINT NOT NULL,
    sync_calls BIGINT NOT NULL,
    live_calls BIGINT NOT NULL,
    PRIMARY KEY (integration_id, day)
);
CREATE INDEX api_usage_day ON api_usage (day);
-- What was counted until now: the calls of the syncs that are kept.
INSERT INTO api_usage
SELECT integration_id, -1, SUM(api_calls), 0 FROM sync GROUP BY integration_id;

-- The organization's calls in the CRM's window, by all its apps, and their limit, as the CRM said at this time.
ALTER TABLE organization ADD COLUMN calls_used BIGINT NOT NULL DEFAULT 0;
ALTER TABLE organization ADD COLUMN calls_limit BIGINT NOT NULL DEFAULT 0;
ALTER TABLE organization ADD COLUMN calls_us BIGINT NOT NULL DEFAULT 0;

-- How many calls an integration may make a day, and the percentage of them that only live reads may use.
ALTER TABLE integration ADD COLUMN budget_calls BIGINT;
ALTER TABLE integration ADD COLUMN budget_reserve BIGINT;
