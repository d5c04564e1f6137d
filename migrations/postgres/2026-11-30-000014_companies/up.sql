-- The live company records by company, and by name: what `record` has, up to data_set.company_no. The rest is added in sorted
-- chunks (src/store/record/by_company.rs). Two indexes of `record` did the same, written in random order with every row.
CREATE TABLE company_record (
    integration_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (integration_id, company_id, object, external_id)
);

CREATE TABLE company_name (
    integration_id TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (integration_id, name_key, company_id, object, external_id)
);

-- The last change number up to which the two tables have the company records. They are filled at the next start.
ALTER TABLE data_set ADD COLUMN company_no BIGINT NOT NULL DEFAULT 0;

DROP INDEX record_company_name;
DROP INDEX record_company;
