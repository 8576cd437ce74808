//! Diagnoses of what is in the HSMs.

pub(in crate::doctor) mod hsm {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Hsm:
        LIBRARY = "hsm-library" "The PKCS#11 library is loaded and initialized"
            "Install the client of the HSM, correct `module`, and give it what it needs in `[hsm.environment]` (SoftHSM: \
             SOFTHSM2_CONF, and the folder of tokens that it names); its own log has more.";
        TOKEN = "hsm-token" "One token has this label, and this serial number if one is given"
            "None: correct `token_label`, or connect the HSM (client daemon, network, partition). Several: set `token_serial`.";
        PIN = "hsm-pin" "The token has counted no wrong PIN, and none was refused before"
            "Refused before: it was the daemon or a command here, and `state-refused-pin` says what to do. Counted: find out who tries \
             wrong PINs before one is tried again: this command tries none. Locked: have the security officer set it anew, then put it \
             into the PIN file.";
        LOGIN = "hsm-login" "The PIN of the PIN file logs in"
            "Put the right PIN into `pin_file` (for CloudHSM `USER:PASSWORD`); it is not tried a second time.";
        MECHANISMS = "hsm-mechanisms" "The token has CKM_AES_GCM and CKM_AES_KEY_GEN"
            "Enable the mechanisms in the HSM's policy, or use another HSM: there is no substitute.";
        SELF_TEST = "hsm-self-test" "The token passes the self-test of its `iv_mode` with the health key"
            "No health key: `holdfast key create --hsm NAME HEALTH_KEY`, where HEALTH_KEY is the `health_key` of `[[hsm]]`. IVs: \
             set `iv_mode` for this HSM (see docs/how-to/hsm.md).";
        LATENCY = "hsm-latency" "An operation takes a small part of the 250 ms of AWS KMS"
            "Bring HSM and proxy nearer to each other; check the HSM's load; use `session_copies` where objects are slow.";
        CAPACITY = "hsm-capacity" "The sessions can do 1,800 operations a second"
            "Raise `sessions`, add HSMs to the key store, or set `requests_per_second` to what they can do and lower the quota in \
             AWS KMS.";
    }
}

pub(in crate::doctor) mod keys {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Keys:
        FOUND = "key-found" "There are external keys, and each id is one key"
            "None: `holdfast key create ID`; the id is the label, not a handle or a serial number. Several with one label: \
             relabel or delete all but one with the HSM's tool.";
        SPEC = "key-spec" "Every external key is AES-256"
            "Make a new key (`holdfast key create`): AWS KMS takes AES_256 alone.";
        USABLE = "key-usable" "Every external key is enabled, and encrypts and decrypts"
            "`holdfast key enable ID`; set CKA_ENCRYPT and CKA_DECRYPT with the HSM's tool, or make a new key.";
        PROTECTED = "key-protected" "Every external key is sensitive and cannot be extracted"
            "Make a new key with `holdfast key create`; what was extractable once may be elsewhere.";
        DISTINCT = "key-distinct" "No two ids are the same key"
            "Use one id: AWS KMS cannot see that two of its keys are one, and deleting the one destroys the other.";
        VERSIONS = "key-versions" "Every key is versioned, so that it can be rotated"
            "`holdfast key rotate ID` makes a versioned key of one of another tool; what was encrypted before stays readable. \
             A key that the other tool rotates in place makes every older ciphertext unreadable.";
        ROOT = "key-root" "The root key and the sealing key of the KMS API are in the HSM, and work"
            "Bring them back from the HSM's backup, or name the HSM that has them in `[kms]`: without them no KMS key can be \
             used.";
    }
}
