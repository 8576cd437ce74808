//! What can be diagnosed: each thing once, with what to do about it. The command and its documentation have it from here.

use serde::Serialize;

/// What is looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The configuration file and what it means
    Configuration,
    /// Who can read and change the files
    Files,
    /// The folder of the daemon: disk, lock, database
    State,
    /// The running daemon: readiness, HSMs in service, refused requests
    Daemon,
    /// Certificates of listeners and endpoints, client certificates
    Certificates,
    /// The clock of this machine
    Clock,
    /// `SigV4` credentials of AWS KMS
    Credentials,
    /// What AWS KMS finds at an endpoint: name, TCP, TLS, path, signature, health, time
    Endpoint,
    /// HSMs: library, token, PIN, mechanisms, self-test, time
    Hsm,
    /// External keys and the root key in the HSMs
    Keys,
    /// Custom key stores and KMS keys
    Kms,
}

impl Group {
    pub const ALL: [Self; 11] = [
        Self::Configuration,
        Self::Files,
        Self::State,
        Self::Daemon,
        Self::Certificates,
        Self::Clock,
        Self::Credentials,
        Self::Endpoint,
        Self::Hsm,
        Self::Keys,
        Self::Kms,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Files => "files",
            Self::State => "state",
            Self::Daemon => "daemon",
            Self::Certificates => "certificates",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Endpoint => "endpoint",
            Self::Hsm => "hsm",
            Self::Keys => "keys",
            Self::Kms => "kms",
        }
    }
}

/// One thing that can be wrong.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    pub id: &'static str,
    pub group: Group,
    /// What is true if all is well.
    pub title: &'static str,
    /// What to do if it is not.
    pub fix: &'static str,
}

/// Declares diagnoses of a group, and the list of them.
macro_rules! diagnoses {
    ($group:ident: $($name:ident = $id:literal $title:literal $fix:literal;)+) => {
        $(
            pub(in crate::doctor) static $name: $crate::doctor::diagnosis::Diagnosis =
                $crate::doctor::diagnosis::Diagnosis {
                    id: $id,
                    group: $crate::doctor::diagnosis::Group::$group,
                    title: $title,
                    fix: $fix,
                };
        )+
        pub(in crate::doctor) static ALL: &[&$crate::doctor::diagnosis::Diagnosis] = &[$(&$name),+];
    };
}

pub(in crate::doctor) use diagnoses;
