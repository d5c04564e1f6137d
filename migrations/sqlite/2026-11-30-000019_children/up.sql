-- The children of each record: what `record_link` has of the records up to data_set.company_no. The rest is added in sorted chunks
-- (src/store/record/by_company.rs). An index of `record_link` did the same, written in random order with every commit.
CREATE TABLE record_child (
    integration_id TEXT NOT NULL,
    parent_object TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    child_object TEXT NOT NULL,
    child_id TEXT NOT NULL,
    PRIMARY KEY (integration_id, parent_object, parent_id, child_object, child_id)
) WITHOUT ROWID;

-- It is filled at the next start; the tables of companies, which go by the same number, keep what they have.
UPDATE data_set SET company_no = 0;

DROP INDEX record_link_parent;
