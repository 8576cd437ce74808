//! What is wrong with a configuration: collected, so that all of it is told at once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;

const NAME_CHARS_MAX: usize = 64;

/// One thing that is wrong: which file, which table in it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: PathBuf,
    table: String,
    reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file.display(), self.table, self.reason)
    }
}

/// Why a configuration was refused; prints one line a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl Problem {
    /// Which table it is in, such as ``listener `public` ``.
    pub fn table(&self) -> &str {
        &self.table
    }
}

impl ConfigError {
    pub(super) fn of(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads values of one file one by one and remembers each that is wrong.
pub(super) struct Review<'a> {
    file: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Review<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self { file, problems: Vec::new() }
    }

    /// The value, unless anything was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(value) } else { Err(ConfigError { problems: self.problems }) }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The one problem after which nothing else can be read.
    pub(super) fn fail(mut self, place: &str, reason: impl fmt::Display) -> ConfigError {
        self.refuse(place, reason);
        ConfigError { problems: self.problems }
    }

    pub(super) fn refuse(&mut self, table: &str, reason: impl fmt::Display) {
        // A reason from a library may have several lines; ours are one line each.
        let reason = reason.to_string().replace('\n', " ");
        self.problems.push(Problem { file: self.file.to_owned(), table: table.to_owned(), reason });
    }

    pub(super) fn require(&mut self, is_right: bool, table: &str, reason: impl fmt::Display) {
        if !is_right {
            self.refuse(table, reason);
        }
    }

    /// A path, taken from the folder of the configuration file if it is relative.
    pub(super) fn path(&mut self, table: &str, member: &str, path: &Path) -> PathBuf {
        self.require(!path.as_os_str().is_empty(), table, format_args!("`{member}` is empty"));
        self.file.parent().unwrap_or(Path::new("/")).join(path)
    }

    pub(super) fn within<T>(&mut self, table: &str, member: &str, value: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display,
    {
        let (low, high) = (range.start(), range.end());
        self.require(range.contains(&value), table, format_args!("`{member}` must be {low} to {high}"));
        value
    }

    pub(super) fn socket_address(&mut self, table: &str, member: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        let reason = format_args!(
            "`{member}` must be an IP address and a port, such as `127.0.0.1:8440` or `[::]:443`"
        );
        self.require(address.is_some(), table, reason);
        address
    }

    /// How to call the table: by its name, or by its place in the file if the name is no name.
    ///
    /// Names appear in logs and metric labels, so they are kept short and plain.
    pub(super) fn named_table(&mut self, kind: &str, index: usize, name: &str) -> String {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(legal) {
            return format!("{kind} `{name}`");
        }
        let table = format!("{kind} {}", index + 1);
        let reason = format_args!("`name` must be 1 to {NAME_CHARS_MAX} characters of A-Z a-z 0-9 - . _");
        self.refuse(&table, reason);
        table
    }

    pub(super) fn unique<T: Ord>(&mut self, table: &str, member: &str, seen: &mut BTreeSet<T>, value: T) {
        let is_new = seen.insert(value);
        self.require(is_new, table, format_args!("`{member}` is already taken by another table"));
    }
}
