-- What was forgotten of integrations that are gone: nothing removed it until now.
DELETE FROM meta
WHERE key LIKE 'forgotten %'
    AND NOT EXISTS (SELECT 1 FROM integration WHERE meta.key = 'forgotten ' || integration.id);
