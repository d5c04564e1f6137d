DROP TABLE data_object;
DROP TABLE data_set;
DROP TABLE removal;
DROP TABLE record_link;
DROP TABLE record;
