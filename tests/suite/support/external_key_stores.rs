//! External key stores of the KMS API, whose proxy is the same daemon or another one.

use serde_json::{Value, json};

use super::kms::{ACCOUNT, KmsReply};
use super::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Setup, Site, merged};

/// The path of the key store `test` of a proxy.
pub const URI_PATH: &str = "/test/kms/xks/v1";

impl Setup {
    /// With the KMS API, which reaches proxies with certificates of the authority in this file. `members` goes into
    /// `[kms.external_key_stores]`, and may go on with other tables.
    pub fn kms_with_proxies(ca_file: &str, members: &str) -> Self {
        let setup = Self::kms();
        let kms = setup.kms.unwrap_or_default()
            + &format!("[kms.external_key_stores]\nallow_ports = true\nca_file = \"{ca_file}\"\n{members}\n");
        Self { kms: Some(kms), ..Self::default() }
    }
}

/// The credential of every proxy in the tests.
pub fn credential() -> Value {
    proxy_credential(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
}

pub fn proxy_credential(access_key_id: &str, secret_access_key: &str) -> Value {
    json!({"AccessKeyId": access_key_id, "RawSecretAccessKey": secret_access_key})
}

/// A request for a key store that is called `name`, for the key store `test` at this endpoint.
pub fn new_external_store(name: &str, endpoint: &str) -> Value {
    json!({
        "CustomKeyStoreName": name,
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        "XksProxyUriEndpoint": endpoint,
        "XksProxyUriPath": URI_PATH,
        "XksProxyAuthenticationCredential": credential(),
    })
}

impl Site {
    /// What a key store calls the proxy of this site.
    pub fn proxy_endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A new key store at this endpoint, not connected: its id.
    #[track_caller]
    pub fn create_external_store(&self, name: &str, endpoint: &str) -> String {
        self.create_store(&new_external_store(name, endpoint))
    }

    #[track_caller]
    pub fn create_store(&self, request: &Value) -> String {
        self.kms("CreateCustomKeyStore", request).text("CustomKeyStoreId")
    }

    /// A key store at this endpoint, connected.
    #[track_caller]
    pub fn connected_external_store(&self, name: &str, endpoint: &str) -> String {
        let id = self.create_external_store(name, endpoint);
        self.connect_store(&id);
        id
    }

    /// One entry of `DescribeCustomKeyStores`.
    #[track_caller]
    pub fn store(&self, id: &str) -> Value {
        let described = self.kms("DescribeCustomKeyStores", &json!({"CustomKeyStoreId": id})).ok();
        assert_eq!(described["CustomKeyStores"].as_array().unwrap().len(), 1, "{described}");
        described["CustomKeyStores"][0].clone()
    }

    #[track_caller]
    pub fn connection_state(&self, id: &str) -> String {
        self.store(id)["ConnectionState"].as_str().unwrap().to_owned()
    }

    /// Waits for the end of what was asked of the connection: what came of it, with the error code if it failed.
    #[track_caller]
    pub fn settled_connection(&self, id: &str) -> String {
        self.wait_until("the end of connecting", || !self.connection_state(id).ends_with("ING"));
        let store = self.store(id);
        let state = store["ConnectionState"].as_str().unwrap();
        store["ConnectionErrorCode"]
            .as_str()
            .map_or_else(|| state.to_owned(), |code| format!("{state} {code}"))
    }

    /// Asks for a connection: what came of it.
    #[track_caller]
    pub fn try_connect_store(&self, id: &str) -> String {
        assert_eq!(self.of_store("ConnectCustomKeyStore", id).ok(), json!({}));
        self.settled_connection(id)
    }

    #[track_caller]
    pub fn connect_store(&self, id: &str) {
        assert_eq!(self.try_connect_store(id), "CONNECTED");
    }

    #[track_caller]
    pub fn disconnect_store(&self, id: &str) {
        assert_eq!(self.of_store("DisconnectCustomKeyStore", id).ok(), json!({}));
        assert_eq!(self.settled_connection(id), "DISCONNECTED");
    }

    /// An operation that takes a key store and nothing else.
    pub fn of_store(&self, operation: &str, id: &str) -> KmsReply {
        self.kms(operation, &json!({"CustomKeyStoreId": id}))
    }

    pub fn update_store(&self, id: &str, members: Value) -> KmsReply {
        self.kms("UpdateCustomKeyStore", &merged(json!({"CustomKeyStoreId": id}), members))
    }

    /// A new key over an external key: its id.
    #[track_caller]
    pub fn create_external_key(&self, store: &str, xks_key_id: &str) -> String {
        self.create_key_with(&new_external_key(store, xks_key_id))
    }

    /// The requests of KMS in the log of this proxy, each with the id of the KMS request behind it.
    pub fn proxy_requests(&self) -> Vec<(String, String)> {
        let text = |line: &Value, member: &str| {
            line["requestMetadata"][member].as_str().unwrap_or_default().to_owned()
        };
        let lines = self.request_lines().into_iter();
        lines.map(|line| (text(&line, "kmsOperation"), text(&line, "kmsRequestId"))).collect()
    }
}

pub fn new_external_key(store: &str, xks_key_id: &str) -> Value {
    json!({"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, "XksKeyId": xks_key_id})
}

/// The administrator's ARN, as a proxy hears it.
pub fn administrator_arn() -> String {
    format!("arn:aws:iam::{}:user/admin", ACCOUNT.id)
}
