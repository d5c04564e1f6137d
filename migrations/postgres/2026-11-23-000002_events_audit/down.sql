DROP TABLE audit_entry;
DROP TABLE group_event;
DROP TABLE group_event_head;
