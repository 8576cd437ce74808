//! Diagnoses of what is on the machine of the daemon: configuration, files, state, the daemon itself.

pub(in crate::doctor) mod configuration {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Configuration:
        PARSE = "configuration-file" "The configuration file can be read, and every member is known and in its range"
            "Permission denied: run this as the daemon's user, `sudo -u holdfast holdfast doctor`. Else correct what is named, or \
             name the file with `--config` or HOLDFAST_CONFIG; `holdfast config print-default` shows every member with its default.";
        FILES = "configuration-content" "Every file that the configuration names is there and right"
            "Permission denied: run this as the daemon's user. Else correct or make the file that is named, then run `holdfast \
             config check`.";
        WARNINGS = "configuration-warnings" "Nothing in the configuration is allowed but probably not meant"
            "Change the member that is named, or keep it if you mean it.";
        DEVELOPMENT = "configuration-development" "Nothing is switched on that is for development alone"
            "Remove `clock_control` from `[dev]`: whoever reaches the admin listener can move the clock of keys that matter.";
        CIRCULAR = "configuration-circular" "The daemon does not need, to start, a KMS key that it serves itself"
            "Move `state_dir`, secrets and certificates to a disk that no key of these key stores encrypts: after a power \
             failure the disk waits for the daemon, and the daemon for the disk.";
    }
}

pub(in crate::doctor) mod files {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Files:
        CONFIGURATION = "files-configuration" "Others cannot change the configuration file"
            "`chmod go-w FILE`, and have it belong to root or to the daemon's user: who writes it chooses the PKCS#11 library.";
        SECRETS = "files-secrets" "Secrets can be read by their owner alone, who is root or the daemon's user"
            "Not there: make it, or correct the member that names it. Else `chmod 600 FILE` and `chown` it to the daemon's user; run \
             this command as that user.";
        MODULE = "files-module" "Others cannot change the PKCS#11 library"
            "`chmod go-w FILE`: whoever changes the library sees the PIN and every plaintext.";
        STATE_DIR = "files-state-dir" "`state_dir` is a folder of the daemon's user that others cannot enter"
            "`chown` it to the daemon's user and `chmod 700` it.";
        SOCKET = "files-control-socket" "The control socket is a socket that only the daemon's user can open"
            "Stop the daemon, remove what is there, and start the daemon, which makes it with mode 0600.";
    }
}

pub(in crate::doctor) mod state {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { State:
        DISK = "state-disk" "The disks of `state_dir` and of the audit trail have room"
            "Make room or enlarge the disk: below `free_bytes_min` of `[kms.audit]` (64 MiB) nothing is changed any more, since it \
             could not be recorded. Move old files of the audit trail elsewhere.";
        LOCK = "state-lock" "One daemon holds `state_dir`, and answers"
            "Start it (`systemctl start holdfast`); if a process holds the lock and does not answer, look at its log and \
             stop it with SIGTERM.";
        SCHEMA = "state-schema" "The database is one of this release or an older one"
            "Of a newer release: run that one, for a database is not taken back. Not a database of Holdfast at all: keep a copy, and \
             bring the last backup back with `holdfast restore`.";
        INTEGRITY = "state-integrity" "The database is whole (PRAGMA quick_check)"
            "Stop the daemon, keep a copy of `kms.db*`, and bring the last backup back with `holdfast restore`.";
        REFUSED_PIN = "state-refused-pin" "No PIN is written down as refused"
            "Put the right PIN into the PIN file; if it is right and the HSM was wrong, `touch` the file to have it tried again.";
    }
}

pub(in crate::doctor) mod daemon {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Daemon:
        READY = "daemon-ready" "The daemon is ready: every key store has an HSM that serves"
            "An HSM is named: `daemon-health-key`, `daemon-pin`, `daemon-token` or `daemon-hsm-state` says what to do. Else follow \
             the reason; the log has what came before it.";
        HEALTH_KEY = "daemon-health-key" "Every HSM has its health key"
            "`holdfast key create --hsm NAME HEALTH_KEY`, where HEALTH_KEY is the `health_key` of `[[hsm]]`; the daemon takes the \
             HSM by itself then.";
        PIN = "daemon-pin" "No HSM has refused its PIN"
            "Refused: put the right PIN into `pin_file`; if it is right and the HSM was wrong, `touch` the file to have it tried \
             again. Locked: have the security officer set it anew, then put it into the file.";
        TOKEN = "daemon-token" "Every HSM has one token of its label"
            "None: correct `token_label`, or connect the HSM (client daemon, network, partition). Several: set `token_serial`.";
        HSM_STATE = "daemon-hsm-state" "Every HSM is active and takes requests"
            "Repair the HSM or its link; it is taken back by itself when it works. `holdfast doctor --only hsm --log-in` \
             looks at it directly.";
        QUARANTINE = "daemon-hsm-quarantine" "No HSM has returned something wrong"
            "Take it out of `hsms` and call its maker: a ciphertext of it did not decrypt to what was encrypted.";
        HUNG = "daemon-hsm-hung" "No PKCS#11 call hangs, and no worker process was replaced"
            "Look at the link to the HSM and at the log of its library; `isolation = \"process\"` keeps a library that \
             hangs or crashes out of the daemon.";
        BUDGET = "daemon-latency" "HSM operations and waiting take a small part of the 250 ms of AWS KMS"
            "HSM time high: bring HSM and proxy nearer to each other, or replace the link. Queue time high: raise \
             `sessions`, add an HSM.";
        GCM = "daemon-gcm-invocations" "No key version is near 2^32 encryptions"
            "`holdfast key rotate ID`: random IVs repeat too probably beyond that (NIST SP 800-38D).";
        PATH = "daemon-uri-path" "Nobody asks for a URI path that there is not"
            "Make XksProxyUriPath of the key store `/PREFIX/kms/xks/v1` with the `uri_path_prefix` of this configuration; the \
             request log shows the path that was asked for.";
        AUTHENTICATION = "daemon-authentication" "Nobody is refused for a wrong signature"
            "The request log says why. Unknown access key id: give AWS KMS the credential of \
             `holdfast credential list` (UpdateCustomKeyStore). Wrong signature with a known id: the secret differs, or \
             something in between rewrites Host or path. A date that is too old or too new: set the clocks (NTP). \
             Another Region: name it in `regions` of the key store. `holdfast check` sends wrong signatures on purpose.";
        POLICY = "daemon-authorization" "No request is refused by the policy of a key store"
            "Only the proxy can allow it: the request log names the statement and the fields; change `policy_file`.";
        UNKNOWN_KEY = "daemon-key-not-found" "No external key id is asked for that is not there"
            "The id is the label of the key: compare with `holdfast key list`. If it is there, `keys` of the key store does not list \
             it. A deleted key must come back from the HSM's backup; the id of a KMS key cannot be changed.";
        CIPHERTEXT = "daemon-ciphertext" "No ciphertext is refused"
            "Ciphertext or encryption context differ from those at encryption; or the key was rotated by another tool. The \
             request log tells an unknown key version from a wrong tag.";
        THROTTLING = "daemon-throttling" "No request is refused for being too many"
            "Raise `requests_per_second` of the key store if the HSM can do more, else add HSMs or sessions, or lower the \
             quota of the key store in AWS KMS.";
        TIMEOUT = "daemon-timeout" "Every request ends within its deadline"
            "Compare `holdfast_hsm_operation_duration_seconds` with `holdfast_hsm_queue_wait_seconds`: the first says the HSM is \
             slow or far, the second that it has too much to do.";
        BLOCKED = "daemon-blocked" "No key store and no key is blocked"
            "`holdfast store unblock NAME` or `holdfast key unblock ID`, if whoever blocked it agrees. A `blocked.json` that cannot be \
             read keeps the daemon from starting: correct it, or remove it and block again what must be.";
        RELOAD = "daemon-reload" "The configuration in force is the one of the file"
            "Run `holdfast config check`, correct what it names; the daemon takes it up by itself. If it finds nothing, what was changed \
             needs a restart: the log says so.";
        AUDIT = "daemon-audit" "The audit trail is written, signed and whole"
            "Make room on the disk of `dir` in `[kms.audit]` (by default in `state_dir`), and look at the log; without a trail \
             nothing is changed.";
    }
}
