//! A second token, `second`, beside the first, and a key store of the same name that uses it alone.

use std::path::PathBuf;

use super::client::Signed;
use super::pki::write_private;
use super::site::{SOFTHSM, Setup, Site};

/// Which library the second token is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A library of its own: a copy, which has a state of its own.
    OtherModule,
    SameModule,
}

impl Setup {
    pub fn with_second_hsm(mut self, behind: Behind) -> Self {
        let module = match (behind, self.shim) {
            (Behind::OtherModule, _) => PathBuf::from("second.so"),
            (Behind::SameModule, true) => super::site::shim_module(),
            (Behind::SameModule, false) => PathBuf::from(SOFTHSM),
        };
        self.tables += &format!(
            r#"
[[hsm]]
name = "second"
module = "{}"
token_label = "second"
pin_file = "pin"
sessions = 1
{}
[[key_store]]
name = "second"
uri_path_prefix = "second"
hsms = ["second"]
credentials_file = "second-credentials.toml"
"#,
            module.display(),
            super::site::isolation()
        );
        self
    }
}

impl Site {
    /// A site with a running daemon and the keys `foo` and `holdfast-health` in either token.
    pub fn start_with_second_hsm(setup: Setup, behind: Behind) -> Self {
        let site = Self::prepare(&setup.with_second_hsm(behind));
        std::fs::copy(SOFTHSM, site.path("second.so")).unwrap();
        let credentials = std::fs::read_to_string(site.path("credentials.toml")).unwrap();
        write_private(&site.path("second-credentials.toml"), &credentials);
        site.init_token("second");
        for key in ["foo", "holdfast-health"] {
            site.holdfast_ok(&["key", "create", key, "--hsm", "second"]);
        }
        site.run();
        site.wait_ready();
        site
    }
}

/// The same request, to the store `second`.
pub fn to_second(mut signed: Signed) -> Signed {
    signed.path = signed.path.replacen("/test/", "/second/", 1);
    signed
}
