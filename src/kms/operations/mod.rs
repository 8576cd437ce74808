//! The operations of the KMS API, a file each, and the table that finds them.

mod cancel_key_deletion;
mod connect_custom_key_store;
mod create_alias;
mod create_custom_key_store;
mod create_grant;
pub(super) mod create_key;
mod custom_key_store;
mod data_key;
mod data_key_pair;
mod decapsulate;
mod decrypt;
mod delete_alias;
mod delete_custom_key_store;
mod delete_imported_key_material;
mod derive_shared_secret;
mod describe_custom_key_stores;
mod describe_key;
mod destination;
mod disable_key;
mod disable_key_rotation;
mod disconnect_custom_key_store;
mod enable_key;
pub(super) mod enable_key_rotation;
mod encapsulate;
mod encrypt;
mod generate_data_key;
mod generate_data_key_pair;
mod generate_data_key_pair_without_plaintext;
mod generate_data_key_without_plaintext;
mod generate_mac;
mod generate_random;
mod get_key_last_usage;
mod get_key_policy;
mod get_key_rotation_status;
mod get_parameters_for_import;
mod get_public_key;
mod import_key_material;
mod list_aliases;
mod list_grants;
mod list_key_policies;
mod list_key_rotations;
mod list_keys;
mod list_resource_tags;
mod list_retirable_grants;
mod metadata;
mod of_key;
mod put_key_policy;
mod re_encrypt;
mod recipient;
mod replicate_key;
mod retire_grant;
mod revoke_grant;
mod rotate_key_on_demand;
pub(super) mod schedule_key_deletion;
mod sign;
mod signing;
mod sm2;
mod source;
mod tag_resource;
mod untag_resource;
mod update_alias;
mod update_custom_key_store;
mod update_key_description;
mod update_primary_region;
mod verify;
mod verify_mac;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use serde::de::Deserialize;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operation::OperationName;
use crate::secret::SecretWriter;

/// One operation: what it reads, what it does, what it answers. The request has been checked against the model of
/// the API before.
trait Operation<'b> {
    type Request: Deserialize<'b> + Send;
    /// `()` for an empty body.
    type Response: Serialize;

    fn execute(
        call: &Call<'_>,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, Error>> + Send;
}

/// Times that a request is tried while others change the key under it: with sixteen others, one in ten million is not
/// served then. A try costs a read and, if it fails, no write.
const ATTEMPTS_MAX: usize = 256;
/// Room for what cryptographic operations answer to short texts: wiping more than that costs more than growing.
const ANSWER_BYTES_USUAL: usize = 768;

/// Declares which file does which operation.
macro_rules! operations {
    ($($name:ident => $module:ident,)+) => {
        /// Does what `body` asks for, and answers with the body of the response.
        pub(super) async fn dispatch(name: OperationName, call: &Call<'_>, body: &[u8]) -> Result<Bytes, Error> {
            match name {
                $(OperationName::$name => run::<$module::$name>(call, body).await,)+
            }
        }
    };
}

operations! {
    CancelKeyDeletion => cancel_key_deletion,
    ConnectCustomKeyStore => connect_custom_key_store,
    CreateAlias => create_alias,
    CreateCustomKeyStore => create_custom_key_store,
    CreateGrant => create_grant,
    CreateKey => create_key,
    Decapsulate => decapsulate,
    Decrypt => decrypt,
    DeleteAlias => delete_alias,
    DeleteCustomKeyStore => delete_custom_key_store,
    DeleteImportedKeyMaterial => delete_imported_key_material,
    DeriveSharedSecret => derive_shared_secret,
    DescribeCustomKeyStores => describe_custom_key_stores,
    DescribeKey => describe_key,
    DisableKey => disable_key,
    DisableKeyRotation => disable_key_rotation,
    DisconnectCustomKeyStore => disconnect_custom_key_store,
    EnableKey => enable_key,
    EnableKeyRotation => enable_key_rotation,
    Encapsulate => encapsulate,
    Encrypt => encrypt,
    GenerateDataKey => generate_data_key,
    GenerateDataKeyPair => generate_data_key_pair,
    GenerateDataKeyPairWithoutPlaintext => generate_data_key_pair_without_plaintext,
    GenerateDataKeyWithoutPlaintext => generate_data_key_without_plaintext,
    GenerateMac => generate_mac,
    GenerateRandom => generate_random,
    GetKeyLastUsage => get_key_last_usage,
    GetKeyPolicy => get_key_policy,
    GetKeyRotationStatus => get_key_rotation_status,
    GetParametersForImport => get_parameters_for_import,
    GetPublicKey => get_public_key,
    ImportKeyMaterial => import_key_material,
    ListAliases => list_aliases,
    ListGrants => list_grants,
    ListKeyPolicies => list_key_policies,
    ListKeyRotations => list_key_rotations,
    ListKeys => list_keys,
    ListResourceTags => list_resource_tags,
    ListRetirableGrants => list_retirable_grants,
    PutKeyPolicy => put_key_policy,
    ReEncrypt => re_encrypt,
    ReplicateKey => replicate_key,
    RetireGrant => retire_grant,
    RevokeGrant => revoke_grant,
    RotateKeyOnDemand => rotate_key_on_demand,
    ScheduleKeyDeletion => schedule_key_deletion,
    Sign => sign,
    TagResource => tag_resource,
    UntagResource => untag_resource,
    UpdateAlias => update_alias,
    UpdateCustomKeyStore => update_custom_key_store,
    UpdateKeyDescription => update_key_description,
    UpdatePrimaryRegion => update_primary_region,
    Verify => verify,
    VerifyMac => verify_mac,
}

/// The key may change between being read and being written: then everything is looked at again.
async fn run<'b, O: Operation<'b>>(call: &Call<'_>, body: &'b [u8]) -> Result<Bytes, Error> {
    let mut attempts = 1;
    loop {
        let request =
            serde_json::from_slice(body).map_err(|error| Error::Serialization(error.to_string()))?;
        match executing::<O>(call, request).await {
            Err(Error::Conflict) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error),
            Ok(response) => return answer(&response),
        }
    }
}

/// Boxed: the compiler cannot see that the future of any operation may move between threads (rust-lang/rust#100013).
fn executing<'a, 'b: 'a, O: Operation<'b> + 'a>(
    call: &'a Call<'_>,
    request: O::Request,
) -> Pin<Box<dyn Future<Output = Result<O::Response, Error>> + Send + 'a>> {
    Box::pin(O::execute(call, request))
}

fn answer(response: &impl Serialize) -> Result<Bytes, Error> {
    let mut writer = SecretWriter::with_capacity(ANSWER_BYTES_USUAL);
    serde_json::to_writer(&mut writer, response).map_err(|error| Error::Internal(error.to_string()))?;
    let mut body = writer.into_inner();
    if *body == b"null" {
        body.clear();
    }
    Ok(Bytes::from_owner(body))
}

/// `DryRunOperationException` for a request that would have succeeded, and is not meant to.
fn dry_run(dry_run: Option<bool>) -> Result<(), Error> {
    if dry_run == Some(true) { Err(Error::DryRun) } else { Ok(()) }
}

/// Bytes as Base64 in an answer.
struct Blob<B>(B);

impl<B: AsRef<[u8]>> Serialize for Blob<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(proxy_api::wire::encode_base64(self.0.as_ref()));
        serializer.serialize_str(&text)
    }
}
