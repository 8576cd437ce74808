//! What a key store does while it is being connected or disconnected, which a hanging login makes last.

use serde_json::json;

use crate::support::cluster_stores::{new_cluster_key, site_with_cluster};
use crate::support::kms::KmsReply;
use crate::support::kms_stories::PLAINTEXT;

#[track_caller]
fn assert_invalid_state(reply: &KmsReply, state: &str) {
    let (name, text) = reply.error();
    assert_eq!(name, "CustomKeyStoreInvalidStateException", "{text}");
    assert!(text.starts_with(&format!("The connection state of the custom key store is {state}.")), "{text}");
}

#[test]
fn what_is_possible_while_a_key_store_connects_and_disconnects() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    site.disconnect_store(&store);
    site.inject_members("C_Login hang");
    site.of_store("ConnectCustomKeyStore", &store).ok();
    assert_eq!(site.connection_state(&store), "CONNECTING");
    // Again does no harm.
    site.of_store("ConnectCustomKeyStore", &store).ok();
    assert_invalid_state(&site.of_store("DeleteCustomKeyStore", &store), "CONNECTING");
    let renamed = json!({"NewCustomKeyStoreName": "other"});
    assert_invalid_state(&site.update_store(&store, renamed.clone()), "CONNECTING");
    let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT});
    assert_eq!(site.kms("Encrypt", &encrypt).error().0, "KMSInvalidStateException");
    assert_eq!(site.key_metadata_of(&key)["KeyState"], "Unavailable");
    let refused = site.kms("CreateKey", &new_cluster_key(&store)).error();
    assert_eq!(refused.0, "CustomKeyStoreInvalidStateException");

    site.of_store("DisconnectCustomKeyStore", &store).ok();
    assert_eq!(site.connection_state(&store), "DISCONNECTING");
    for operation in ["ConnectCustomKeyStore", "DisconnectCustomKeyStore", "DeleteCustomKeyStore"] {
        assert_invalid_state(&site.of_store(operation, &store), "DISCONNECTING");
    }
    assert_invalid_state(&site.update_store(&store, renamed.clone()), "DISCONNECTING");
    assert_eq!(site.kms("Encrypt", &encrypt).error().0, "KMSInvalidStateException");

    site.inject_members("");
    site.wait_until("the end of it", || site.connection_state(&store) == "DISCONNECTED");
    site.update_store(&store, renamed).ok();
    site.connect_store(&store);
    site.kms("Encrypt", &encrypt).ok();
}
