-- Times are milliseconds since the Unix epoch. Words are those of the KMS API.

CREATE TABLE scope (
    scope_id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    -- How many keys there are, so that a quota need not count them.
    keys INTEGER NOT NULL DEFAULT 0 CHECK (keys >= 0),
    UNIQUE (account, region)
) STRICT;

CREATE TABLE kms_key (
    key_no INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL REFERENCES scope (scope_id),
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created INTEGER NOT NULL,
    description TEXT NOT NULL,
    spec TEXT NOT NULL,
    usage TEXT NOT NULL,
    origin TEXT NOT NULL,
    multi_region INTEGER NOT NULL CHECK (multi_region IN (0, 1)),
    state TEXT NOT NULL,
    deletion_due INTEGER,
    deletion_window_days INTEGER,
    rotation_next INTEGER,
    rotation_period_days INTEGER,
    -- JSON: pairs in the order of their keys.
    tags TEXT NOT NULL,
    policy TEXT NOT NULL,
    UNIQUE (scope_id, id),
    CHECK ((deletion_due IS NULL) = (deletion_window_days IS NULL)),
    CHECK ((rotation_next IS NULL) = (rotation_period_days IS NULL))
) STRICT;

CREATE INDEX kms_key_by_deletion ON kms_key (deletion_due)
    WHERE state = 'PendingDeletion' AND deletion_due IS NOT NULL;
CREATE INDEX kms_key_by_rotation ON kms_key (rotation_next)
    WHERE state = 'Enabled' AND rotation_next IS NOT NULL;

CREATE TABLE material (
    key_no INTEGER NOT NULL REFERENCES kms_key (key_no) ON DELETE CASCADE,
    -- The material with the highest one encrypts.
    position INTEGER NOT NULL,
    id BLOB NOT NULL,
    created INTEGER NOT NULL,
    rotation TEXT,
    encryptions INTEGER NOT NULL,
    -- The PKCS#11 mechanism that wrapped it; all 64 bits count, so that the highest ones are negative here.
    mechanism INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (key_no, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE last_usage (
    key_no INTEGER PRIMARY KEY REFERENCES kms_key (key_no) ON DELETE CASCADE,
    operation TEXT NOT NULL,
    used INTEGER NOT NULL,
    request_id TEXT NOT NULL
) STRICT;

CREATE TABLE alias (
    scope_id INTEGER NOT NULL REFERENCES scope (scope_id),
    name TEXT NOT NULL,
    key_no INTEGER NOT NULL REFERENCES kms_key (key_no) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (scope_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX alias_by_key ON alias (key_no, name);

CREATE TABLE key_grant (
    grant_no INTEGER PRIMARY KEY,
    key_no INTEGER NOT NULL REFERENCES kms_key (key_no) ON DELETE CASCADE,
    scope_id INTEGER NOT NULL REFERENCES scope (scope_id),
    id TEXT NOT NULL,
    name TEXT,
    created INTEGER NOT NULL,
    issuing_account TEXT NOT NULL,
    -- `principal:` and an ARN, or `service:` and a name.
    grantee TEXT NOT NULL,
    retiring TEXT,
    -- JSON.
    operations TEXT NOT NULL,
    constraints TEXT NOT NULL,
    -- SHA-256 over name and content: present if there is a name.
    content BLOB,
    UNIQUE (key_no, id)
) STRICT;

CREATE UNIQUE INDEX key_grant_by_content ON key_grant (key_no, content) WHERE content IS NOT NULL;
CREATE INDEX key_grant_by_grantee ON key_grant (key_no, grantee, id);
CREATE INDEX key_grant_by_retiring ON key_grant (scope_id, retiring, id) WHERE retiring IS NOT NULL;

-- How many grants a key has: apart from the key, whose row is large.
CREATE TABLE grant_count (
    key_no INTEGER PRIMARY KEY REFERENCES kms_key (key_no) ON DELETE CASCADE,
    grants INTEGER NOT NULL CHECK (grants >= 0)
) STRICT;

CREATE TABLE identity (
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (account, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
