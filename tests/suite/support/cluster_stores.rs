//! CloudHSM key stores of the KMS API over a cluster of two HSMs, each behind a fault-injecting module of its own.

use serde_json::{Value, json};

use super::clusters::{self, CLUSTER_ID, TOKEN, apart_with};
use super::site::{PIN, Setup, Site};

pub const MEMBERS: [&str; 2] = ["one", "two"];
/// A member that answers nothing.
pub const DOWN: &str = "* code=CKR_DEVICE_ERROR";

/// A running daemon with the KMS API and the cluster.
pub fn site_with_cluster() -> Site {
    site_with_cluster_and(Setup::kms())
}

pub fn site_with_cluster_and(setup: Setup) -> Site {
    let health = "probe_interval_seconds = 1".to_owned();
    let site = apart_with(Setup { health, ..setup });
    site.run();
    site.wait_ready();
    site
}

impl Site {
    /// A request for a key store over the cluster.
    pub fn new_cluster_store(&self, name: &str) -> Value {
        json!({
            "CustomKeyStoreName": name,
            "CloudHsmClusterId": CLUSTER_ID,
            "TrustAnchorCertificate": self.pki.ca_pem,
            "KeyStorePassword": PIN,
        })
    }

    #[track_caller]
    pub fn create_cluster_store(&self, name: &str) -> String {
        self.create_store(&self.new_cluster_store(name))
    }

    #[track_caller]
    pub fn connected_cluster_store(&self, name: &str) -> String {
        let id = self.create_cluster_store(name);
        self.connect_store(&id);
        id
    }

    /// A new key in the cluster: its id.
    #[track_caller]
    pub fn create_cluster_key(&self, store: &str) -> String {
        self.create_key_with(&new_cluster_key(store))
    }

    /// Calls of this PKCS#11 function at a member.
    pub fn member_calls(&self, member: &str, function: &str) -> u64 {
        clusters::calls_of(self.folder.path(), member, function)
    }

    /// Faults of a member from the next call on, and no others.
    pub fn inject_member(&self, member: &str, lines: &str) {
        clusters::inject(self.folder.path(), member, lines);
    }

    pub fn inject_members(&self, lines: &str) {
        MEMBERS.iter().for_each(|member| self.inject_member(member, lines));
    }

    /// Another program on the token that the members share. Once a key store was connected, its password has to be
    /// reset before.
    #[track_caller]
    pub fn cluster_tool(&self, order: &str) -> String {
        self.other_tool_on(TOKEN, order)
    }

    /// What `holdfast cluster orphans` says of the one cluster.
    #[track_caller]
    pub fn cluster_findings(&self) -> Value {
        let output = self.holdfast(&["cluster", "orphans", "--json"]);
        let findings: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        findings[0].clone()
    }

    /// What the log says of the first key object that was to be destroyed.
    #[track_caller]
    pub fn deletion_status(&self) -> String {
        let record = || -> Option<Value> {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut statuses =
                lines.filter_map(|line| line["backing_keys_deletion_status"].as_str().map(str::to_owned));
            statuses.next().map(|status| serde_json::from_str(&status).unwrap())
        };
        self.wait_until("the record of a deletion", || record().is_some());
        record().unwrap()[0]["deletionStatus"].as_str().unwrap().to_owned()
    }

    /// Until both are logged in.
    #[track_caller]
    pub fn wait_for_members(&self) {
        for member in MEMBERS {
            let series = format!("holdfast_hsm_state{{hsm=\"{member}\",state=\"ACTIVE\"}}");
            self.wait_until("a login", || self.metric(&series) == Some(1.0));
        }
    }
}

pub fn new_cluster_key(store: &str) -> Value {
    json!({"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store})
}
