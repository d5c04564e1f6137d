DELETE FROM meta WHERE key = 'platform companies';
DROP TABLE platform_company;
