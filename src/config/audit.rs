//! `[kms.audit]`: where the trail of what was done is kept, checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::review::Review;
use crate::config::schema;

const TABLE: &str = "kms.audit";
const SYSLOG_TABLE: &str = "kms.audit.syslog";
const FOLDER: &str = "audit";
const MEBIBYTE: u64 = 1 << 20;
const BYTES_MAX: u64 = 1 << 50;
const DAYS_MAX: u32 = 36_500;
const FILES_MAX: usize = 1_000_000;

/// `[kms.audit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub enabled: bool,
    pub dir: PathBuf,
    pub checkpoint_interval: Duration,
    pub limits: AuditLimits,
    pub sinks: AuditSinks,
}

impl Audit {
    /// Takes out what a reload can change, so that the rest can be compared.
    pub fn forget_what_can_change(&mut self) {
        self.checkpoint_interval = Duration::ZERO;
        self.limits = AuditLimits {
            sync_interval: Duration::ZERO,
            free_bytes_min: 0,
            buffer_bytes_max: 0,
            when_full: WhenFull::Refuse,
            file_bytes_max: 0,
            keep_days: 0,
            keep_files: 0,
        };
        self.sinks = AuditSinks::default();
    }
}

/// How the files are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// From a record to the disk, if nobody waits for it.
    pub sync_interval: Duration,
    /// With less free, nothing is changed any more.
    pub free_bytes_min: u64,
    /// Records that may wait while nothing can be written.
    pub buffer_bytes_max: usize,
    pub when_full: WhenFull,
    pub file_bytes_max: u64,
    /// Zero: for ever.
    pub keep_days: u32,
    /// Zero: all.
    pub keep_files: usize,
}

/// What becomes of requests whose records nobody can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// They go on, and their records are counted and given up.
    Drop,
    Refuse,
}

/// Where lines go besides the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSinks {
    pub stdout: bool,
    pub syslog: Option<Syslog>,
}

/// `[kms.audit.syslog]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub address: SyslogAddress,
    pub facility: SyslogFacility,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// Host and port.
    Tcp(String),
    /// Host and port.
    Udp(String),
    /// A socket for datagrams.
    Unix(PathBuf),
}

/// RFC 5424, 6.2.1: those that a daemon may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogFacility {
    Audit,
    Auth,
    AuthPriv,
    Daemon,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
    User,
}

impl SyslogFacility {
    const ALL: [(&'static str, Self, u8); 13] = [
        ("audit", Self::Audit, 13),
        ("auth", Self::Auth, 4),
        ("authpriv", Self::AuthPriv, 10),
        ("daemon", Self::Daemon, 3),
        ("local0", Self::Local0, 16),
        ("local1", Self::Local1, 17),
        ("local2", Self::Local2, 18),
        ("local3", Self::Local3, 19),
        ("local4", Self::Local4, 20),
        ("local5", Self::Local5, 21),
        ("local6", Self::Local6, 22),
        ("local7", Self::Local7, 23),
        ("user", Self::User, 1),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, facility, _)| *facility)
    }

    pub fn number(self) -> u8 {
        Self::ALL.iter().find(|(_, known, _)| *known == self).map_or(1, |(.., number)| *number)
    }
}

pub(super) fn audit(review: &mut Review<'_>, raw: schema::Audit, state_dir: &Path) -> Audit {
    let dir = match &raw.dir {
        Some(dir) => review.path(TABLE, "dir", dir),
        None => state_dir.join(FOLDER),
    };
    let interval =
        review.within(TABLE, "checkpoint_interval_seconds", raw.checkpoint_interval_seconds, 1..=86_400);
    let limits = AuditLimits {
        sync_interval: Duration::from_millis(review.within(
            TABLE,
            "sync_interval_ms",
            raw.sync_interval_ms,
            1..=60_000,
        )),
        free_bytes_min: review.within(TABLE, "free_bytes_min", raw.free_bytes_min, 0..=BYTES_MAX),
        buffer_bytes_max: review.within(TABLE, "buffer_bytes_max", raw.buffer_bytes_max, 65_536..=1 << 30),
        when_full: match raw.when_full {
            schema::WhenFull::Drop => WhenFull::Drop,
            schema::WhenFull::Refuse => WhenFull::Refuse,
        },
        file_bytes_max: review.within(TABLE, "file_bytes_max", raw.file_bytes_max, 65_536..=1024 * MEBIBYTE),
        keep_days: review.within(TABLE, "keep_days", raw.keep_days, 0..=DAYS_MAX),
        keep_files: review.within(TABLE, "keep_files", raw.keep_files, 0..=FILES_MAX),
    };
    let syslog = raw.syslog.and_then(|raw| syslog(review, &raw));
    Audit {
        enabled: raw.enabled,
        dir,
        checkpoint_interval: Duration::from_secs(interval),
        limits,
        sinks: AuditSinks { stdout: raw.stdout, syslog },
    }
}

fn syslog(review: &mut Review<'_>, raw: &schema::Syslog) -> Option<Syslog> {
    let address = parse_address(&raw.address);
    let reason = "`address` must be such as `udp://host:514`, `tcp://host:601` or `unix:/dev/log`";
    review.require(address.is_some(), SYSLOG_TABLE, reason);
    let facility = SyslogFacility::parse(&raw.facility);
    let names: Vec<_> = SyslogFacility::ALL.iter().map(|(name, ..)| *name).collect();
    let reason = format_args!("`facility` must be one of {}", names.join(", "));
    review.require(facility.is_some(), SYSLOG_TABLE, reason);
    Some(Syslog { address: address?, facility: facility? })
}

fn parse_address(text: &str) -> Option<SyslogAddress> {
    let is_address = |text: &str| {
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
    };
    if let Some(rest) = text.strip_prefix("udp://").filter(|rest| is_address(rest)) {
        return Some(SyslogAddress::Udp(rest.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("tcp://").filter(|rest| is_address(rest)) {
        return Some(SyslogAddress::Tcp(rest.to_owned()));
    }
    let path = text.strip_prefix("unix:").filter(|path| path.starts_with('/'))?;
    Some(SyslogAddress::Unix(path.into()))
}

#[cfg(test)]
mod tests {
    use super::{SyslogAddress, parse_address};

    #[test]
    fn an_address_says_how_and_where_to() {
        let udp = |text: &str| Some(SyslogAddress::Udp(text.to_owned()));
        assert_eq!(parse_address("udp://logs.example.com:514"), udp("logs.example.com:514"));
        assert_eq!(parse_address("udp://[::1]:514"), udp("[::1]:514"));
        assert_eq!(parse_address("tcp://a:601"), Some(SyslogAddress::Tcp("a:601".to_owned())));
        assert_eq!(parse_address("unix:/dev/log"), Some(SyslogAddress::Unix("/dev/log".into())));
        for wrong in ["", "udp://a", "udp://:514", "udp://a:0", "udp://a:x", "unix:dev/log", "http://a:1"] {
            assert_eq!(parse_address(wrong), None, "{wrong}");
        }
    }
}
