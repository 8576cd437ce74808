-- Key pairs, imported material and multi-Region keys.

-- PRIMARY or REPLICA, of a multi-Region key.
ALTER TABLE kms_key ADD COLUMN multi_region_key_type TEXT;
UPDATE kms_key SET multi_region_key_type = 'PRIMARY' WHERE multi_region = 1;
ALTER TABLE kms_key DROP COLUMN multi_region;

-- A window without a day: it begins when the last replica is deleted. The former check is in the way, and a check
-- cannot be dropped.
ALTER TABLE kms_key ADD COLUMN waiting_window_days INTEGER;

-- What related multi-Region keys have in common is the id.
CREATE INDEX kms_key_multi_region ON kms_key (id) WHERE multi_region_key_type IS NOT NULL;
-- Only a primary rotates by itself.
DROP INDEX kms_key_by_rotation;
CREATE INDEX kms_key_by_rotation ON kms_key (rotation_next)
    WHERE state = 'Enabled' AND rotation_next IS NOT NULL AND multi_region_key_type IS NOT 'REPLICA';

CREATE TABLE new_material (
    key_no INTEGER NOT NULL REFERENCES kms_key (key_no) ON DELETE CASCADE,
    -- The order of the generations.
    position INTEGER NOT NULL,
    id BLOB NOT NULL,
    created INTEGER NOT NULL,
    rotation TEXT,
    encryptions INTEGER NOT NULL,
    -- Where the material is: `absent`, `cluster`, `software`, `token` or `wrapped`.
    kept TEXT NOT NULL,
    -- The PKCS#11 mechanism that wrapped it; all 64 bits count, so that the highest ones are negative here.
    mechanism INTEGER,
    -- Wrapped or sealed bytes.
    bytes BLOB,
    -- SubjectPublicKeyInfo.
    public_key BLOB,
    -- Of imported material: sealed; the other three columns say nothing without it.
    import_fingerprint BLOB,
    import_description TEXT,
    import_valid_to INTEGER,
    import_is_pending_rotation INTEGER NOT NULL DEFAULT 0 CHECK (import_is_pending_rotation IN (0, 1)),
    PRIMARY KEY (key_no, position)
) STRICT, WITHOUT ROWID;

INSERT INTO new_material (key_no, position, id, created, rotation, encryptions, kept, mechanism, bytes)
SELECT key_no, position, id, created, rotation, encryptions,
    CASE WHEN length(wrapped) = 0 THEN 'cluster' ELSE 'wrapped' END,
    CASE WHEN length(wrapped) = 0 THEN NULL ELSE mechanism END,
    CASE WHEN length(wrapped) = 0 THEN NULL ELSE wrapped END
FROM material;

DROP TABLE material;
ALTER TABLE new_material RENAME TO material;

-- Related multi-Region keys share their material, and count its encryptions together.
CREATE INDEX material_by_id ON material (id);
CREATE INDEX material_by_expiry ON material (import_valid_to)
    WHERE import_valid_to IS NOT NULL AND kept <> 'absent';
