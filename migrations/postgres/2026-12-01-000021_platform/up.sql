-- The platform's own companies. Replaced ones whose platform id has moved to another company stay as tombstones: indexes follow the
-- changes by their numbers. The row of meta has the last number; who changes companies locks it.
CREATE TABLE platform_company (
    company_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    platform_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    homepage TEXT NOT NULL,
    change_no BIGINT NOT NULL,
    update_us BIGINT NOT NULL,
    delete_us BIGINT
);
CREATE UNIQUE INDEX platform_company_change ON platform_company (change_no);
CREATE UNIQUE INDEX platform_company_id ON platform_company (platform_id) WHERE delete_us IS NULL;
INSERT INTO meta VALUES ('platform companies', '0');
