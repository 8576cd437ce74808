//! The life of a key, driven by the AWS SDK for Rust over HTTPS.

use std::env;
use std::fs;

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Credentials;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, GrantOperation, KeyState, Tag};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

/// The SDK does not read `AWS_CA_BUNDLE`.
async fn configuration() -> SdkConfig {
    let bundle = fs::read(env::var("AWS_CA_BUNDLE").unwrap()).unwrap();
    let trust = TrustStore::empty().with_pem_certificate(bundle);
    let tls = TlsContext::builder().with_trust_store(trust).build().unwrap();
    let provider = Provider::Rustls(CryptoMode::Ring);
    let http = Builder::new().tls_provider(provider).tls_context(tls).build_https();
    let region = Region::new(env::var("AWS_DEFAULT_REGION").unwrap());
    aws_config::from_env().region(region).http_client(http).load().await
}

fn code<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    result.unwrap_err().code().unwrap().to_owned()
}

async fn a_key_lives(kms: &Client) {
    let tag = Tag::builder().tag_key("client").tag_value("rust").build().unwrap();
    let created = kms.create_key().description("from Rust").tags(tag).send().await.unwrap();
    let key = created.key_metadata.unwrap();
    let id = key.key_id;
    assert_eq!(key.description.as_deref(), Some("from Rust"));

    let alias = format!("alias/rust/{id}");
    kms.create_alias().alias_name(&alias).target_key_id(&id).send().await.unwrap();
    let encrypted = kms
        .encrypt()
        .key_id(&alias)
        .plaintext(Blob::new("over the wire"))
        .encryption_context("purpose", "test")
        .send()
        .await
        .unwrap();
    let blob = encrypted.ciphertext_blob.unwrap();
    let decrypt = || kms.decrypt().ciphertext_blob(blob.clone());
    let decrypted = decrypt().encryption_context("purpose", "test").send().await.unwrap();
    assert_eq!(decrypted.plaintext.unwrap().as_ref(), b"over the wire");
    assert_eq!(decrypted.key_id, key.arn);

    let refused = decrypt().encryption_context("purpose", "other").send().await.unwrap_err();
    assert!(refused.into_service_error().is_invalid_ciphertext_exception());

    let data_key = kms.generate_data_key().key_id(&id).key_spec(DataKeySpec::Aes256).send().await.unwrap();
    let opened = kms.decrypt().ciphertext_blob(data_key.ciphertext_blob.unwrap()).send().await.unwrap();
    assert_eq!(opened.plaintext, data_key.plaintext);

    kms.rotate_key_on_demand().key_id(&id).send().await.unwrap();
    decrypt().encryption_context("purpose", "test").send().await.unwrap();

    let mut aliases = kms.list_aliases().key_id(&id).into_paginator().items().send();
    assert_eq!(aliases.next().await.unwrap().unwrap().alias_name, Some(alias));
    assert!(aliases.next().await.is_none());

    kms.disable_key().key_id(&id).send().await.unwrap();
    let refused = decrypt().encryption_context("purpose", "test").send().await.unwrap_err();
    assert!(refused.into_service_error().is_disabled_exception());
    kms.enable_key().key_id(&id).send().await.unwrap();

    let scheduled = kms.schedule_key_deletion().key_id(&id).pending_window_in_days(7).send().await.unwrap();
    assert_eq!(scheduled.key_state, Some(KeyState::PendingDeletion));
    let refused = kms.encrypt().key_id(&id).plaintext(Blob::new("x")).send().await.unwrap_err();
    assert!(refused.into_service_error().is_kms_invalid_state_exception());
    kms.cancel_key_deletion().key_id(&id).send().await.unwrap();
    let described = kms.describe_key().key_id(&id).send().await.unwrap().key_metadata.unwrap();
    assert_eq!(described.key_state, Some(KeyState::Disabled));
    kms.schedule_key_deletion().key_id(&id).pending_window_in_days(7).send().await.unwrap();
}

async fn mistakes_have_their_names(kms: &Client) {
    let absent = "00000000-0000-4000-8000-000000000000";
    let describe = kms.describe_key().key_id(absent).send().await.unwrap_err().into_service_error();
    assert!(describe.is_not_found_exception(), "{describe:?}");
    let account = env::var("HOLDFAST_ACCOUNT_ID").unwrap();
    let region = env::var("AWS_DEFAULT_REGION").unwrap();
    let text = format!("Key 'arn:aws:kms:{region}:{account}:key/{absent}' does not exist");
    assert_eq!(describe.meta().message(), Some(&*text));
    let garbage = kms.decrypt().ciphertext_blob(Blob::new("garbage")).send().await.unwrap_err();
    assert!(garbage.into_service_error().is_invalid_ciphertext_exception());
    assert_eq!(code(kms.generate_random().number_of_bytes(1025).send().await), "ValidationException");
    let rehearsed = kms.generate_random().number_of_bytes(8).send().await.unwrap();
    assert_eq!(rehearsed.plaintext.unwrap().as_ref().len(), 8);
}

async fn a_role_has_what_a_grant_gives(configuration: &SdkConfig, kms: &Client) {
    let role = env::var("HOLDFAST_TEST_ROLE_ARN").unwrap();
    let sts = aws_sdk_sts::Client::new(configuration);
    let assumed = sts.assume_role().role_arn(&role).role_session_name("rust").send().await.unwrap();
    let given = assumed.credentials.unwrap();
    let (secret, token) = (given.secret_access_key, Some(given.session_token));
    let credentials = Credentials::new(given.access_key_id, secret, token, None, "AssumeRole");
    let as_role = Client::from_conf(
        aws_sdk_kms::config::Builder::from(configuration).credentials_provider(credentials).build(),
    );

    let id = kms.create_key().send().await.unwrap().key_metadata.unwrap().key_id;
    let encrypt = || as_role.encrypt().key_id(&id).plaintext(Blob::new("x"));
    assert_eq!(code(encrypt().send().await), "AccessDeniedException");
    let granted = kms
        .create_grant()
        .key_id(&id)
        .grantee_principal(&role)
        .operations(GrantOperation::Encrypt)
        .send()
        .await
        .unwrap();
    encrypt().send().await.unwrap();
    kms.revoke_grant().key_id(&id).grant_id(granted.grant_id.unwrap()).send().await.unwrap();
    assert_eq!(code(encrypt().send().await), "AccessDeniedException");
    kms.schedule_key_deletion().key_id(&id).pending_window_in_days(7).send().await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let configuration = configuration().await;
    let kms = Client::new(&configuration);
    a_key_lives(&kms).await;
    mistakes_have_their_names(&kms).await;
    a_role_has_what_a_grant_gives(&configuration, &kms).await;
}
