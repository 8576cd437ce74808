//! The words of the KMS API: keys, aliases, grants, their states, and the ciphertext format.

mod action;
mod algorithm;
mod alias;
mod capability;
mod ciphertext;
mod condition_key;
mod custom_key_store;
mod double_encryption;
mod encryption_context;
mod grant;
mod grant_condition;
mod grant_index;
mod hex;
mod import;
mod import_token;
mod key;
mod key_id;
mod lifecycle_event;
mod material;
mod permission;
mod reference;
mod related_keys;
mod root_key;
mod scope;
mod signed_message;
mod time;
mod words;

pub use action::{AccountAction, KeyAction, StateRefusal, check_state};
pub use algorithm::{
    Algorithm, EncapsulationAlgorithm, EncryptionAlgorithm, Hash, KeyAgreementAlgorithm, KeyKind,
    MacAlgorithm, MessageType, SigningAlgorithm, WrappingAlgorithm, WrappingKeySpec,
};
pub use alias::{Alias, AliasName};
pub use capability::{CapabilityRefusal, Refusal, check, check_algorithm, check_capability};
pub use ciphertext::{BlobStart, Ciphertext, CiphertextHeader, ENCRYPTION_CONTEXT_BYTES_MAX, Layers};
pub use condition_key::{ConditionKey, TestedBy};
pub use custom_key_store::{
    CloudHsmBacking, Connection, ConnectionErrorCode, ConnectionState, CustomKeyStore, CustomKeyStoreId,
    CustomKeyStoreType, ExternalBacking, KeyStoreBacking, KeyStoreConflict, SealedSecret, VpcEndpointService,
    XksKeyId, XksProxyConnectivity, is_same_certificate,
};
use double_encryption::{INNER_LAYER_BYTES_MAX, outer_aad};
pub use double_encryption::{InnerLayer, OuterLayer, inner_layer};
pub use encryption_context::EncryptionContext;
use grant::GrantOperations;
pub use grant::{Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal};
pub use grant_index::{
    GrantIndex, GrantQuestion, GrantRequester, GrantedTo, KnownGrant, Permit, RequesterName,
};
pub use hex::Uuid;
pub use import::{ExpirationModel, ImportType, KeyMaterialState, WrappingRefusal, check_wrapping};
pub use import_token::ImportToken;
pub use key::{
    Deletion, Key, KeyPlace, KeySpec, KeyState, KeyUsage, MultiRegionKeyType, Origin, Rotation, Tag,
};
pub use key_id::{KEY_ID_BYTES, KeyId, MATERIAL_ID_BYTES, MaterialId};
pub use lifecycle_event::{LifecycleEvent, LifecycleEventKind};
pub use material::{Import, KeptKey, Material, MaterialSource, RotationType, WrappedKey};
pub use permission::{CrossAccount, GivenBy, Permission};
pub use reference::KeyReference;
pub use related_keys::{NewReplica, RELATED_KEYS_MAX, RelatedKeys};
pub use root_key::{ROOT_KEY_ID_BYTES, RootKeyId, RootKeys, SealedParts};
pub use scope::{AccountId, Region, Scope};
pub use signed_message::UnfitMessage;
pub use time::UnixMillis;
pub(crate) use words::words;
