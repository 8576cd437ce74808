//! Changes of a site's files, and waiting until the daemon has taken them up or refused them.

use rustix::process::Signal;

use super::pki::write_private;
use super::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Site};

/// What becomes of a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    Refused,
    Taken,
}

impl Reload {
    const fn series(self) -> &'static str {
        match self {
            Self::Refused => "holdfast_config_reloads_total{result=\"refused\"}",
            Self::Taken => "holdfast_config_reloads_total{result=\"taken\"}",
        }
    }
}

impl Site {
    /// How many reloads have ended so.
    pub fn reloads(&self, result: Reload) -> f64 {
        self.metric(result.series()).unwrap()
    }

    /// Makes a change and waits for a reload that ends so.
    #[track_caller]
    pub fn reload(&self, result: Reload, change: impl FnOnce()) {
        let before = self.reloads(result);
        change();
        self.wait_until(&format!("a reload that is {result:?}"), || self.reloads(result) > before);
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Changes a file at once, as a careful tool does.
    pub fn replace(&self, name: &str, content: &str) {
        let beside = self.path(&format!("{name}.new"));
        write_private(&beside, content);
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// A credentials file. The first credential of every store is the same in the tests.
    pub fn write_credentials(&self, name: &str, more: &[(&str, &str)]) {
        let first = (ACCESS_KEY_ID, SECRET_ACCESS_KEY);
        let entries = std::iter::once(&first).chain(more).map(|(id, secret)| credential(id, secret));
        self.replace(name, &entries.collect::<String>());
    }

    /// Adds a key store over the same HSM, which the daemon takes up when it starts or reloads.
    pub fn add_key_store(&self, name: &str, members: &str) {
        self.write_credentials(&format!("{name}.toml"), &[]);
        let table = format!(
            "[[key_store]]\nname = \"{name}\"\nuri_path_prefix = \"{name}\"\nhsms = [\"softhsm\"]\ncredentials_file = \"{name}.toml\"\n{members}\n"
        );
        self.edit_configuration(|text| text + &table);
    }
}

/// An entry of a credentials file.
pub fn credential(id: &str, secret: &str) -> String {
    format!(
        "[[credential]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\ncreated = 2026-01-01T00:00:00Z\n"
    )
}
