//! A key store over two HSMs that hold the same key `shared`, each behind a fault-injecting module of its own.

use super::faults::Calls;
use super::site::{SOFTHSM, Setup, Site, shim_module};

const VALUE: &str = "0123456789abcdef0123456789abcdef";
/// Their names; the first is the one that [`Site::inject`] makes fail.
pub const PAIR: [&str; 2] = ["softhsm", "second"];

impl Site {
    /// Both have the members `hsm` in their tables.
    pub fn start_shimmed_pair(setup: Setup) -> Self {
        let second = format!(
            "[[hsm]]\nname = \"second\"\nmodule = \"second.so\"\ntoken_label = \"second\"\npin_file = \"pin\"\n{}\n",
            setup.hsm
        );
        let site = Self::prepare(&Setup { shim: true, tables: setup.tables.clone() + &second, ..setup });
        std::fs::copy(shim_module(), site.path("second.so")).unwrap();
        std::fs::copy(SOFTHSM, site.path("second-softhsm.so")).unwrap();
        let [module, control, counts] =
            ["second-softhsm.so", "second-faults", "second-counts"].map(|name| site.path(name));
        let settings = format!(
            "PKCS11_SHIM_MODULE={}\nPKCS11_SHIM_CONTROL={}\nPKCS11_SHIM_COUNTS={}\n",
            module.display(),
            control.display(),
            counts.display()
        );
        std::fs::write(site.path("second.so.conf"), settings).unwrap();
        site.init_token("second");
        site.holdfast_ok(&["key", "create", "holdfast-health", "--hsm", "second"]);
        for token in ["holdfast", "second"] {
            site.other_tool_on(token, &format!("import shared {VALUE}"));
        }
        let both = r#"hsms = ["softhsm", "second"]"#;
        site.edit_configuration(|text| text.replace(r#"hsms = ["softhsm"]"#, both));
        site.run();
        site.wait_ready();
        site.wait_until("both HSMs", || {
            PAIR.iter().all(|hsm| {
                site.metric(&format!(r#"holdfast_hsm_state{{hsm="{hsm}",state="ACTIVE"}}"#)) == Some(1.0)
            })
        });
        site
    }

    /// These faults happen at this one of the pair from its next call on, and no others.
    pub fn inject_at(&self, hsm: &str, lines: &str) {
        let control = if hsm == "second" { "second-faults" } else { "faults" };
        let new = self.path("pair-faults.new");
        std::fs::write(&new, lines).unwrap();
        std::fs::rename(new, self.path(control)).unwrap();
    }

    /// Calls that the second has had since the daemon started.
    pub fn calls_of_second(&self) -> Calls {
        let text = std::fs::read_to_string(self.path("second-counts")).unwrap_or_default();
        let counts = text.lines().filter_map(|line| line.split_once(' '));
        counts.map(|(function, count)| (function.to_owned(), count.trim().parse().unwrap())).collect()
    }

    /// Whether the circuit breaker of an HSM is in this state.
    pub fn is_breaker(&self, hsm: &str, state: &str) -> bool {
        self.metric(&format!(r#"holdfast_hsm_breaker_state{{hsm="{hsm}",state="{state}"}}"#)) == Some(1.0)
    }
}
