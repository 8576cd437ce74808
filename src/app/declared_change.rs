//! Who may call, and from where, as files declare it, and what the audit trail records of a change of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use crate::app::administration::LocalChange;
use crate::config;
use crate::config::{AddressRange, Network};
use crate::identity::kms::{Declared, Directory, Networks};
use crate::json::{Object, push_array, push_text};

/// Files by their paths, with the SHA-256 of each that can be read.
pub(super) type Digests = BTreeMap<PathBuf, Option<String>>;

/// Of what is declared, all that a record names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declarations {
    files: Digests,
    /// By the names of listeners: from where, and whether for what they say of VPC endpoints too.
    trusted_proxies: BTreeMap<String, (Vec<AddressRange>, bool)>,
}

impl Declarations {
    pub(super) fn new(identity_files: &[PathBuf], networks: &BTreeMap<String, Network>) -> Self {
        let of_file = |path: &PathBuf| {
            let bytes = std::fs::read(path).map(zeroize::Zeroizing::new);
            (path.clone(), bytes.ok().map(|bytes| hexadecimal(&bytes)))
        };
        let policy = |network: &Network| {
            let (path, text) = network.endpoint_policy_file.as_ref().zip(network.endpoint_policy.as_ref())?;
            Some((path.clone(), Some(hexadecimal(text.as_bytes()))))
        };
        let files = identity_files.iter().map(of_file).chain(networks.values().filter_map(policy));
        let proxies = networks.iter().filter(|(_, network)| !network.trusted_proxies.is_empty());
        Self {
            files: files.collect(),
            trusted_proxies: proxies
                .map(|(name, network)| {
                    (name.clone(), (network.trusted_proxies.clone(), network.trusted_vpc_headers))
                })
                .collect(),
        }
    }

    /// Nothing, if nothing is different.
    pub(super) fn change_to(&self, after: &Self) -> Option<LocalChange> {
        if self == after {
            return None;
        }
        let mut json = Vec::new();
        let mut parameters = Object::begin(&mut json);
        let files = after.files.iter().filter(|(path, hash)| self.files.get(*path) != Some(*hash));
        let gone = self.files.keys().filter(|path| !after.files.contains_key(*path));
        let files = files.map(|(path, hash)| (path, hash.as_deref())).chain(gone.map(|path| (path, None)));
        push_array(parameters.member("files"), files, |out, (path, hash)| {
            let mut file = Object::begin(out);
            file.text("path", &path.display().to_string());
            file.text_if("sha256", hash);
            file.end();
        });
        if self.trusted_proxies != after.trusted_proxies {
            let listeners = after.trusted_proxies.iter();
            push_array(
                parameters.member("trustedProxies"),
                listeners,
                |out, (name, (ranges, vpc_headers))| {
                    let mut listener = Object::begin(out);
                    listener.text("listener", name);
                    push_array(listener.member("addresses"), ranges, |out, range| {
                        push_text(out, &range.to_string());
                    });
                    listener.json("vpcHeaders", if *vpc_headers { b"true" } else { b"false" });
                    listener.end();
                },
            );
        }
        parameters.end();
        Some(LocalChange {
            source: "iam.amazonaws.com",
            name: "UpdateDeclaredIdentities",
            by: "reload",
            account: None,
            parameters: Some(json),
        })
    }
}

pub(super) type DeclaredDirectory = (Arc<Directory>, Mutex<Vec<PathBuf>>, Mutex<Declarations>);

/// What the identities file declares, in force, the files to watch, and what a change is told from.
pub(super) fn declared_directory(settings: &config::Kms) -> Result<DeclaredDirectory, String> {
    let directory = Arc::new(Directory::default());
    let declared = read_identities(settings)?.unwrap_or_default();
    let declared_files = Mutex::new(declared.files().to_vec());
    let declarations = Mutex::new(Declarations::new(declared.files(), &settings.networks));
    directory.declare(declared)?;
    Ok((directory, declared_files, declarations))
}

pub(super) fn declared_networks(settings: &config::Kms) -> Result<Arc<Networks>, String> {
    let networks = Arc::new(Networks::default());
    networks.declare(Networks::read(&settings.networks)?);
    Ok(networks)
}

/// Reads what the identities file declares.
pub(super) fn read_identities(settings: &config::Kms) -> Result<Option<Declared>, String> {
    let read = |path| Declared::load(path).map_err(|error| error.to_string());
    settings.identities_file.as_ref().map(|path| read(path)).transpose()
}

fn hexadecimal(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::app::declared_change::Declarations;
    use crate::config::{AddressRange, Network};

    #[test]
    fn a_change_names_the_files_that_differ_by_their_hashes_and_the_proxies_that_are_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identities.toml");
        std::fs::write(&path, "secret_access_key = \"very-secret\"").unwrap();
        let before = Declarations::new(std::slice::from_ref(&path), &BTreeMap::new());
        assert!(before.change_to(&before.clone()).is_none());

        std::fs::write(&path, "abc").unwrap();
        let network = Network {
            vpc_endpoint: None,
            endpoint_policy_file: Some("policy.json".into()),
            endpoint_policy: Some("abc".to_owned()),
            trusted_proxies: vec![AddressRange::parse("10.0.0.0/8").unwrap()],
            trusted_vpc_headers: true,
        };
        let networks = BTreeMap::from([("office".to_owned(), network)]);
        let after = Declarations::new(std::slice::from_ref(&path), &networks);
        let parameters = before.change_to(&after).unwrap().parameters.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&parameters).unwrap();
        // SHA-256 of "abc", FIPS 180-2, appendix B.1.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let files = json["files"].as_array().unwrap();
        assert_eq!(files.len(), 2);
        assert!(files.iter().all(|file| file["sha256"] == hash), "{json}");
        let proxies =
            serde_json::json!([{"listener": "office", "addresses": ["10.0.0.0/8"], "vpcHeaders": true}]);
        assert_eq!(json["trustedProxies"], proxies);

        let nothing = Declarations::default();
        let parameters = after.change_to(&nothing).unwrap().parameters.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&parameters).unwrap();
        assert!(json["files"].as_array().unwrap().iter().all(|file| file.get("sha256").is_none()));
        assert_eq!(json["trustedProxies"], serde_json::json!([]));
    }
}
