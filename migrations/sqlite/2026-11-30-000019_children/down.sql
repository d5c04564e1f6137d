CREATE INDEX record_link_parent ON record_link (integration_id, parent_object, parent_id, child_object, child_id);
DROP TABLE record_child;
