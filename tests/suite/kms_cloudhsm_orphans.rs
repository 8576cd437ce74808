//! Key objects of a cluster whose deletion cannot reach them, and daemons that end while they connect or make a key.

use serde_json::json;

use crate::support::cluster_stores::{new_cluster_key, site_with_cluster};
use crate::support::kms::KmsClient;
use crate::support::kms_stories::PLAINTEXT;
use crate::support::site::PIN;

#[test]
fn a_deletion_that_cannot_reach_the_cluster_leaves_an_orphan_that_is_found() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let [orphan, missing, kept] = [(); 3].map(|()| site.create_cluster_key(&store));
    site.disconnect_store(&store);
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": orphan, "PendingWindowInDays": 7})).ok();
    site.advance_clock("8d");
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": orphan})).error().0, "NotFoundException");
    assert_eq!(site.deletion_status(), "FAILURE");
    // Somebody destroys a key object with a tool of the cluster.
    site.cluster_tool("reset-pin");
    site.cluster_tool(&format!("destroy {missing}"));
    site.update_store(&store, json!({"KeyStorePassword": PIN})).ok();
    assert_eq!(site.cluster_findings()["failure"], "the key store is DISCONNECTED");
    site.connect_store(&store);
    let output = site.holdfast(&["cluster", "orphans"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let findings = site.cluster_findings();
    assert_eq!(findings["orphans"].as_array().unwrap().len(), 1, "{findings}");
    assert_eq!(findings["orphans"][0]["label"], orphan);
    assert_eq!(findings["missing"], json!([missing]));
    site.kms_encrypt(&kept);
    site.kms("Encrypt", &json!({"KeyId": missing, "Plaintext": PLAINTEXT})).assert_error(
        "KMSInvalidStateException",
        "The key material of this KMS key was not found in its AWS CloudHSM cluster.",
    );
}

#[test]
fn a_daemon_that_ends_while_it_makes_a_key_leaves_no_key_and_an_orphan_that_is_found() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    site.wait_for_members();
    site.inject_members("C_GenerateKey after crash");
    let client = KmsClient::open(&site.runtime, site.kms_endpoint());
    let cut = client.unwrap().call("CreateKey", &new_cluster_key(&store));
    assert!(cut.is_err(), "{cut:?}");
    site.wait_until("the end of the daemon", || site.exit_status().is_some());
    site.kill();
    site.inject_members("");
    site.run();
    site.wait_ready();
    site.wait_for_members();
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
    let findings = site.cluster_findings();
    assert_eq!(findings["orphans"].as_array().unwrap().len(), 1, "{findings}");
    let key = site.create_cluster_key(&store);
    site.kms_encrypt(&key);
}

#[test]
fn a_key_store_that_was_killed_while_it_connected_can_be_connected() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    let blob = site.kms_encrypt(&key);
    site.disconnect_store(&store);
    for function in ["C_Login", "C_SetPIN", "C_SetPIN after", "C_FindObjectsInit"] {
        // At this call of either member, the daemon goes.
        site.inject_members(&format!("{function} crash"));
        site.of_store("ConnectCustomKeyStore", &store);
        site.wait_until("the end of the daemon", || site.exit_status().is_some());
        site.kill();
        site.inject_members("");
        site.run();
        site.wait_ready();
        let state = site.settled_connection(&store);
        assert_eq!(state, "CONNECTED", "{function}");
        site.wait_until("the login", || {
            site.kms("Decrypt", &json!({"CiphertextBlob": blob})).0.status == 200
        });
        assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
        site.disconnect_store(&store);
    }
}

#[test]
fn a_connected_cluster_is_logged_in_to_again_after_a_restart() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    let blob = site.kms_encrypt(&key);
    for _ in 0..3 {
        // SoftHSM empties the file of a token and writes it anew when somebody logs in.
        site.wait_for_members();
        site.kill();
        site.run();
        site.wait_ready();
        assert_eq!(site.connection_state(&store), "CONNECTED");
        site.wait_for_members();
        assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    }
    site.create_cluster_key(&store);
}
