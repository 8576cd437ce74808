-- Who may retire a grant asks for those of the keys of all accounts.
CREATE INDEX key_grant_by_retiring_principal ON key_grant (retiring, id) WHERE retiring IS NOT NULL;
DROP INDEX key_grant_by_retiring;
