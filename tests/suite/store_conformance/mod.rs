//! What every store has to do, whatever database is under it: each function gets a store with nothing in it.
#![expect(clippy::cognitive_complexity, reason = "a story is one function")]

mod aliases;
pub mod custom_key_stores;
mod grants;
mod keys;
mod others;
mod related_keys;

use std::sync::Arc;

use holdfast::domain::kms::{
    AccountId, Alias, AliasName, Deletion, Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal,
    KeptKey, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage, Material, MaterialId, MaterialSource, Origin,
    Region, Rotation, RotationType, Scope, Tag, UnixMillis, WrappedKey,
};
use holdfast::store::Store;

pub type AnyStore = Arc<dyn Store>;

/// Runs each of these with an empty store of each kind.
macro_rules! on_every_store {
    ($($module:ident: $($story:ident)+;)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $story() {
                let folder = tempfile::tempdir().unwrap();
                let store = holdfast::store::sqlite::SqliteStore::open(folder.path()).unwrap();
                crate::store_conformance::$module::$story(std::sync::Arc::new(store)).await;
            })+
        })+
    };
}

mod sqlite {
    on_every_store! {
        aliases:
            an_alias_is_created_read_and_deleted
            aliases_are_unique_in_their_scope_and_limited_for_a_key
            an_alias_is_pointed_only_from_where_it_points
            aliases_are_paged_by_key_and_by_scope
            of_many_who_create_one_alias_one_does
            of_many_who_point_one_alias_one_does;
        custom_key_stores:
            a_custom_key_store_is_created_read_replaced_and_deleted
            every_connection_state_and_every_move_of_the_proxy_is_kept
            custom_key_stores_are_listed_in_the_order_of_scopes_and_ids
            what_two_custom_key_stores_must_not_share_is_refused
            a_custom_key_store_stays_of_its_type
            custom_key_stores_are_limited_for_each_scope
            an_older_revision_of_a_custom_key_store_changes_nothing
            of_many_who_create_or_change_custom_key_stores_one_does
            a_key_goes_only_into_a_custom_key_store_that_is_there_and_connected
            a_key_stays_where_it_was_made
            an_external_key_is_behind_one_key_of_its_key_store
            a_custom_key_store_with_keys_is_not_deleted
            clearing_takes_custom_key_stores_with_their_keys;
        grants:
            a_grant_is_created_read_and_deleted
            the_same_grant_by_name_is_made_once
            grants_are_limited_for_a_key_and_deleted_with_it
            grants_are_paged_by_key_by_grantee_and_by_who_may_retire
            of_many_who_create_one_grant_all_get_the_same;
        keys:
            a_key_is_created_read_replaced_and_deleted
            a_scope_sees_only_its_own_keys
            keys_are_limited_for_each_scope
            an_older_revision_changes_nothing
            of_many_who_replace_one_revision_one_does
            of_many_who_create_one_key_one_does
            the_limit_of_keys_holds_for_many_at_once
            materials_are_added_kept_and_taken_away
            keys_are_paged_in_their_order
            what_is_due_comes_the_longest_due_first
            a_write_that_was_acknowledged_is_seen_by_every_read_after_it;
        others:
            lifecycle_events_are_there_with_what_they_tell_of_until_they_were_told
            usage_is_written_down_and_counts_add_up
            a_change_of_a_key_keeps_what_was_counted_meanwhile
            identities_are_put_replaced_and_deleted
            a_setting_is_set_once
            clearing_takes_the_keys_and_leaves_identities_and_settings;
        related_keys:
            related_keys_are_those_of_an_account_with_the_same_id
            a_replica_is_made_once_in_a_region_and_only_of_the_primary_as_it_is
            encryptions_with_shared_material_count_for_every_related_key
            several_keys_are_replaced_or_none
            a_replica_is_deleted_with_the_change_of_its_primary
            of_many_who_replicate_a_key_into_a_region_one_does;
    }
}

pub fn scope() -> Scope {
    scope_of("123456789012", "eu-central-1")
}

pub fn scope_of(account: &str, region: &str) -> Scope {
    Scope { account: AccountId::parse(account).unwrap(), region: Region::parse(region).unwrap() }
}

/// The ids of higher numbers come later.
pub fn key_id(number: u32) -> KeyId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    KeyId::from_random(bytes, false)
}

pub fn material(number: u8) -> Material {
    Material {
        id: MaterialId::new([number; 32]),
        created: UnixMillis(i64::from(number)),
        rotation: (number > 1).then_some(RotationType::OnDemand),
        encryptions: 0,
        source: MaterialSource::Kept(Arc::new(KeptKey::Wrapped(WrappedKey {
            root_key: None,
            mechanism: u64::MAX - 1,
            bytes: vec![number; 40],
        }))),
        public_key: None,
        import: None,
    }
}

pub fn key(number: u32) -> Key {
    Key {
        scope: scope(),
        id: key_id(number),
        revision: 1,
        created: UnixMillis(1_700_000_000_000),
        description: "for the tests".to_owned(),
        spec: KeySpec::SymmetricDefault,
        usage: KeyUsage::EncryptDecrypt,
        origin: Origin::AwsKms,
        place: KeyPlace::Default,
        multi_region: None,
        state: KeyState::Enabled,
        deletion: None,
        rotation: None,
        policy: Arc::from(r#"{"Version":"2012-10-17","Statement":[]}"#),
        tags: vec![
            Tag { key: "a".to_owned(), value: String::new() },
            Tag { key: "é".to_owned(), value: "\"".to_owned() },
        ],
        aliases: Vec::new(),
        materials: vec![material(1)],
    }
}

pub fn next_revision(key: &Key) -> Key {
    Key { revision: key.revision + 1, ..key.clone() }
}

pub fn deleted_at(due: i64, key: Key) -> Key {
    let deletion = Some(Deletion { due: Some(UnixMillis(due)), window_days: 7 });
    Key { state: KeyState::PendingDeletion, deletion, ..key }
}

pub fn rotated_at(next: i64, key: Key) -> Key {
    Key { rotation: Some(Rotation { period_days: 365, next: UnixMillis(next) }), ..key }
}

/// Adds keys of these numbers.
pub async fn create_keys(store: &AnyStore, numbers: std::ops::Range<u32>) {
    for number in numbers {
        store.create_key(Arc::new(key(number)), u64::MAX).await.unwrap();
    }
}

pub fn alias_name(name: &str) -> AliasName {
    AliasName::parse(&format!("alias/{name}")).unwrap()
}

pub fn alias(name: &str, target: u32) -> Alias {
    let (created, updated) = (UnixMillis(1), UnixMillis(2));
    Alias { scope: scope(), name: alias_name(name), target: key_id(target), created, updated }
}

pub fn principal(name: &str) -> GrantPrincipal {
    GrantPrincipal::Principal(format!("arn:aws:iam::123456789012:user/{name}"))
}

pub fn grant(number: u32, key: u32) -> Grant {
    Grant {
        scope: scope(),
        key_id: key_id(key),
        id: GrantId(format!("{number:064x}")),
        name: None,
        created: UnixMillis(5),
        issuing_account: "arn:aws:iam::123456789012:root".to_owned(),
        grantee: principal("alice"),
        retiring: None,
        operations: vec![GrantOperation::Encrypt, GrantOperation::Decrypt],
        constraints: GrantConstraints::default(),
    }
}

/// Has many do it at the same time; what each came to.
pub async fn at_once<T, F>(count: u32, job: impl Fn(u32) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    (0..count).map(job).collect::<tokio::task::JoinSet<_>>().join_all().await
}
