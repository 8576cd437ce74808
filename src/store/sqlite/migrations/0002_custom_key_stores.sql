CREATE TABLE custom_key_store (
    store_no INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL REFERENCES scope (scope_id),
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    connection_state TEXT NOT NULL,
    connection_error TEXT,
    -- Of an AWS CloudHSM key store.
    cluster_id TEXT,
    trust_anchor TEXT,
    -- Of an external key store.
    connectivity TEXT,
    uri_endpoint TEXT,
    uri_path TEXT,
    vpc_service_name TEXT,
    vpc_service_owner TEXT,
    access_key_id TEXT,
    credential_since INTEGER,
    -- Sealed: the password of `kmsuser`, or the secret access key.
    secret BLOB NOT NULL,
    UNIQUE (scope_id, id),
    UNIQUE (scope_id, name),
    CHECK ((connection_state = 'FAILED') = (connection_error IS NOT NULL)),
    -- It is of one kind, and has everything of that kind and nothing of the other.
    CHECK ((cluster_id IS NULL) != (connectivity IS NULL)),
    CHECK ((cluster_id IS NULL) = (trust_anchor IS NULL)),
    CHECK ((connectivity IS NULL) = (uri_endpoint IS NULL)),
    CHECK ((connectivity IS NULL) = (uri_path IS NULL)),
    CHECK ((connectivity IS NULL) = (access_key_id IS NULL)),
    CHECK ((connectivity IS NULL) = (credential_since IS NULL)),
    CHECK ((connectivity IS 'VPC_ENDPOINT_SERVICE') = (vpc_service_name IS NOT NULL)),
    CHECK (vpc_service_owner IS NULL OR vpc_service_name IS NOT NULL)
) STRICT;

-- Where a key is: in the default key store if there is no number.
ALTER TABLE kms_key ADD COLUMN store_no INTEGER REFERENCES custom_key_store (store_no);
ALTER TABLE kms_key ADD COLUMN xks_key_id TEXT CHECK (xks_key_id IS NULL OR store_no IS NOT NULL);

CREATE INDEX kms_key_by_store ON kms_key (store_no, id) WHERE store_no IS NOT NULL;
CREATE UNIQUE INDEX kms_key_by_xks_key ON kms_key (store_no, xks_key_id) WHERE xks_key_id IS NOT NULL;
