CREATE INDEX record_company_name ON record (integration_id, name_key, company_id)
    WHERE company_id IS NOT NULL AND delete_us IS NULL;
CREATE INDEX record_company ON record (integration_id, company_id)
    WHERE company_id IS NOT NULL AND delete_us IS NULL;
ALTER TABLE data_set DROP COLUMN company_no;
DROP TABLE company_name;
DROP TABLE company_record;
