//! Databases of every schema that was ever released come up to date, whole or not at all, and newer ones are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast::domain::kms::{
    AccountId, AliasName, CustomKeyStoreId, KeptKey, Key, KeyId, Material, MaterialSource, Region, RootKeyId,
    Scope, WrappedKey,
};
use holdfast::store::sqlite::{BackupError, OpenError, SchemaError, SqliteStore, inspect, restore};
use holdfast::store::{RootKeyRotation, RootKeyStore, RootKeyUses, Setting, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::store_conformance::{key, material};

const CURRENT: u32 = 6;

/// Number and text of each file in `tests/fixtures/databases`.
fn fixtures() -> Vec<(u32, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/databases");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let number = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let fixtures: Vec<_> =
        files.iter().map(|path| (number(path), fs::read_to_string(path).unwrap())).collect();
    let numbers: Vec<_> = fixtures.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..CURRENT).collect::<Vec<_>>(), "there is a database of every older schema");
    fixtures
}

/// A folder with the database of a fixture.
fn folder_with(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    Connection::open(folder.path().join("kms.db")).unwrap().execute_batch(text).unwrap();
    folder
}

fn version(path: &Path) -> u32 {
    let connection = Connection::open(path).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn scope() -> Scope {
    Scope { account: AccountId::parse("123456789012").unwrap(), region: Region::parse("us-east-1").unwrap() }
}

/// Every row, in words that do not depend on the schema; what a release could not know has its default.
async fn contents(store: &SqliteStore) -> Vec<String> {
    let scope = scope();
    let mut contents = Vec::new();
    for id in store.keys_page(&scope, None, 100).await.unwrap() {
        contents.push(key_text(&store.key(&scope, &id).await.unwrap().unwrap()));
        contents.push(format!("{:?}", store.last_usage(&scope, &id).await.unwrap()));
    }
    for id in ["cks-00000000000000001", "cks-00000000000000002"] {
        let id = CustomKeyStoreId::parse(id).unwrap();
        contents.push(format!("{:?}", store.custom_key_store(&scope, &id).await.unwrap()));
    }
    let alias = AliasName::parse("alias/kept").unwrap();
    contents.push(format!("{:?}", store.alias(&scope, &alias).await.unwrap()));
    contents.push(format!("{:?}", store.identities().await.unwrap()));
    contents.push(format!("{:?}", store.lifecycle_events(10).await.unwrap()));
    for name in [Setting::RootKeyId, Setting::RootKeyCheck, Setting::SessionTokenKey] {
        contents.push(format!("{:?}", store.setting(name).await.unwrap()));
    }
    contents
}

/// With the bytes of its material, which are not to be seen otherwise.
fn key_text(key: &Key) -> String {
    let bytes: Vec<_> = key
        .materials
        .iter()
        .map(|material| match &material.source {
            MaterialSource::Absent | MaterialSource::ClusterObject => Vec::new(),
            MaterialSource::Kept(kept) => match &**kept {
                KeptKey::Wrapped(wrapped) => wrapped.bytes.clone(),
                KeptKey::Software { sealed } => sealed.clone(),
                KeptKey::TokenObject => b"token".to_vec(),
            },
        })
        .collect();
    format!("{key:?} {bytes:?}")
}

/// What must be there of each release.
async fn assert_contents(store: &SqliteStore, from: u32) {
    let scope = scope();
    let id = |text: &str| KeyId::parse(text).unwrap();
    let first = store.key(&scope, &id("11111111-1111-4111-8111-111111111111")).await.unwrap().unwrap();
    assert_eq!((first.revision, first.materials.len(), first.aliases.len()), (3, 2, 1));
    assert_eq!(first.materials.iter().map(|material| material.encryptions).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(first.tags[0].value, "payments");
    let related = store.key(&scope, &id("mrk-22222222222242228222222222222222")).await.unwrap().unwrap();
    assert_eq!(related.multi_region.map(|kind| kind.as_str()), Some("PRIMARY"));
    let MaterialSource::Kept(kept) = &related.materials[0].source else { panic!("{related:?}") };
    let KeptKey::Wrapped(wrapped) = &**kept else { panic!("{kept:?}") };
    assert_eq!((wrapped.mechanism, wrapped.root_key), ((1 << 63) + 5, None));
    assert_secrets(store, from).await;
    assert_what_later_releases_added(store, from).await;
}

async fn assert_what_later_releases_added(store: &SqliteStore, from: u32) {
    let scope = scope();
    let keys = store.keys_page(&scope, None, 100).await.unwrap().len();
    assert_eq!(keys, [2, 4, 4, 4, 7][usize::try_from(from).unwrap() - 1]);
    if from >= 2 {
        let id = |text: &str| KeyId::parse(text).unwrap();
        let external = store.key(&scope, &id("44444444-4444-4444-8444-444444444444")).await.unwrap().unwrap();
        assert!(format!("{:?}", external.place).contains("foo"), "{external:?}");
    }
    if from >= 4 {
        assert_eq!(store.lifecycle_events(10).await.unwrap().entries.len(), 1);
    }
}

async fn assert_secrets(store: &SqliteStore, from: u32) {
    assert_eq!(store.identities().await.unwrap().len(), 2);
    let keys = store.root_keys().await.unwrap().unwrap();
    assert_eq!((keys.current.0, keys.former), ([0xee; 16], None));
    // All of it is under the root key that it was always under.
    let uses = store.root_key_uses().await.unwrap();
    assert_eq!(uses.current, 0);
    assert_eq!(uses.others, [6, 9, 9, 9, 13][usize::try_from(from).unwrap() - 1]);
}

#[tokio::test]
async fn a_database_of_every_older_schema_comes_up_to_date_and_its_backup_can_be_restored() {
    for (number, text) in fixtures() {
        let folder = folder_with(&text);
        let store = SqliteStore::open(folder.path()).unwrap();
        assert_contents(&store, number).await;
        let before = contents(&store).await;
        let file = folder.path().join("backup.db");
        store.back_up(&file).await.unwrap();
        drop(store);
        let facts = inspect(&file).unwrap();
        assert_eq!(facts.schema_version, CURRENT);
        assert_eq!(facts.root_keys.iter().map(|id| id.0).collect::<Vec<_>>(), [[0xee; 16]]);
        let elsewhere = tempfile::tempdir().unwrap();
        restore(&file, elsewhere.path()).unwrap();
        assert_eq!(contents(&SqliteStore::open(elsewhere.path()).unwrap()).await, before);

        // As it was before, it stays beside the database, and is a backup like any other.
        let copy = folder.path().join(format!("kms.db.schema-{number}"));
        assert_eq!(version(&copy), number);
        let elsewhere = tempfile::tempdir().unwrap();
        restore(&copy, elsewhere.path()).unwrap();
        assert_eq!(contents(&SqliteStore::open(elsewhere.path()).unwrap()).await, before);
        // Once it is up to date, no further copy is made.
        fs::remove_file(&copy).unwrap();
        assert_eq!(contents(&SqliteStore::open(folder.path()).unwrap()).await, before);
        assert!(!copy.exists());
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_database_as_it_was() {
    for (number, text) in fixtures() {
        let folder = folder_with(&text);
        let path = folder.path().join("kms.db");
        // In the way of the last migration, which comes to a column that is there.
        let obstacle = "ALTER TABLE material ADD COLUMN root_key BLOB";
        let table = if number < 5 { "CREATE TABLE new_material (x INTEGER)" } else { obstacle };
        Connection::open(&path).unwrap().execute_batch(table).unwrap();
        let refused = SqliteStore::open(folder.path()).err().unwrap();
        assert!(matches!(refused, OpenError::Schema(_, SchemaError::Sql(_))), "{refused}");
        // Those before it are applied, each whole.
        assert_eq!(version(&path), number.max(4));
        let undo =
            if number < 5 { "DROP TABLE new_material" } else { "ALTER TABLE material DROP COLUMN root_key" };
        Connection::open(&path).unwrap().execute_batch(undo).unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        assert_contents(&store, number).await;
    }
}

#[tokio::test]
async fn a_migration_that_is_killed_in_the_middle_leaves_the_database_as_it_was() {
    let (_, text) = fixtures().pop().unwrap();
    let (folder, crashed) = (folder_with(&text), tempfile::tempdir().unwrap());
    let path = folder.path().join("kms.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA cache_size = 1; PRAGMA cache_spill = 1")
        .unwrap();
    connection
        .execute_batch(
            "BEGIN IMMEDIATE;
            ALTER TABLE material ADD COLUMN root_key BLOB;
            UPDATE kms_key SET description = hex(zeroblob(100000));
            PRAGMA user_version = 6",
        )
        .unwrap();
    // What is on the disk at this moment is what a killed process leaves.
    for name in ["kms.db", "kms.db-wal"] {
        fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    drop(connection);
    assert_eq!(version(&crashed.path().join("kms.db")), 5);
    let store = SqliteStore::open(crashed.path()).unwrap();
    assert_contents(&store, 5).await;
    let first = KeyId::parse("11111111-1111-4111-8111-111111111111").unwrap();
    assert_eq!(store.key(&scope(), &first).await.unwrap().unwrap().description, "key 1");
}

#[test]
fn a_newer_database_is_refused_everywhere_with_the_release_that_wrote_it() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(folder.path()).unwrap());
    let path = folder.path().join("kms.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", CURRENT + 1).unwrap();
    connection
        .execute("UPDATE setting SET value = CAST('9.8.7' AS BLOB) WHERE name = 'written_by'", [])
        .unwrap();
    drop(connection);
    let bytes = fs::read(&path).unwrap();
    let text = SqliteStore::open(folder.path()).err().unwrap().to_string();
    assert!(text.contains("written by 9.8.7") && text.contains("version 7"), "{text}");
    let elsewhere = tempfile::tempdir().unwrap();
    for refused in [inspect(&path).err(), restore(&path, elsewhere.path()).err()] {
        let refused = refused.unwrap();
        assert!(matches!(refused, BackupError::Schema(_, SchemaError::Newer { .. })), "{refused}");
        assert!(refused.to_string().contains("written by 9.8.7"), "{refused}");
    }
    assert!(fs::read(&path).unwrap() == bytes, "a database that is refused is not touched");
}

#[test]
fn of_the_copies_of_older_schemas_the_newest_two_stay() {
    let (number, text) = fixtures().pop().unwrap();
    let folder = folder_with(&text);
    for old in [1, 2, 3] {
        fs::write(folder.path().join(format!("kms.db.schema-{old}")), "").unwrap();
    }
    fs::write(folder.path().join("kms.db.schema-notes"), "").unwrap();
    let is_there = |name: &str| folder.path().join(format!("kms.db.schema-{name}")).exists();
    // As long as the migration fails, all of them do.
    let run = |text| Connection::open(folder.path().join("kms.db")).unwrap().execute_batch(text).unwrap();
    run("ALTER TABLE material ADD COLUMN root_key BLOB");
    assert!(SqliteStore::open(folder.path()).is_err());
    assert!(["1", "2", "3"].into_iter().all(is_there));
    run("ALTER TABLE material DROP COLUMN root_key");
    drop(SqliteStore::open(folder.path()).unwrap());
    assert!(is_there(&number.to_string()) && is_there("3") && is_there("notes"));
    assert!(!is_there("1") && !is_there("2"));
}

#[test]
fn what_a_killed_copy_left_is_removed_by_whoever_has_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join(".holdfast-copy-Xy12Ab");
    let store = SqliteStore::open(folder.path()).unwrap();
    fs::write(&left, "half").unwrap();
    assert!(SqliteStore::open(folder.path()).is_err());
    assert!(left.exists(), "it is perhaps being made");
    drop(store);
    drop(SqliteStore::open(folder.path()).unwrap());
    assert!(!left.exists());
}

/// Material that this root key wrapped.
fn wrapped_by(root_key: [u8; 16]) -> Material {
    let wrapped = WrappedKey { root_key: Some(RootKeyId(root_key)), mechanism: 0x2109, bytes: vec![1; 40] };
    Material { source: MaterialSource::Kept(Arc::new(KeptKey::Wrapped(wrapped))), ..material(1) }
}

#[tokio::test]
async fn nothing_comes_under_a_root_key_that_was_retired() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let (old, new) = ([0xa1; 16], [0xb2; 16]);
    store.set_once(Setting::RootKeyId, old.to_vec()).await.unwrap();
    let with = |number, root_key| Key { materials: vec![wrapped_by(root_key)], ..key(number) };
    store.create_key(Arc::new(with(1, old)), 10).await.unwrap();
    let rotation = |before, after| RootKeyRotation {
        before: RootKeyId(before),
        after: RootKeyId(after),
        check: vec![7; 60],
    };
    assert_eq!(store.rotate_root_key(rotation(new, old)).await, Err(StoreError::Conflict));
    store.rotate_root_key(rotation(old, new)).await.unwrap();
    // One rotation after the other.
    assert_eq!(store.rotate_root_key(rotation(new, [0xc3; 16])).await, Err(StoreError::NotEmpty));
    assert_eq!(store.retire_root_key(RootKeyId(old)).await, Err(StoreError::NotEmpty));
    assert_eq!(store.retire_root_key(RootKeyId(new)).await, Err(StoreError::Missing));
    assert_eq!(store.root_key_uses().await.unwrap(), RootKeyUses { current: 0, others: 1 });
    let page = store.keys_to_rewrap(0).await.unwrap();
    assert_eq!((page.keys.len(), page.next), (1, None));
    // A key that was made before the rotation, and is written after it, is taken as long as its root key is there.
    store.create_key(Arc::new(with(2, old)), 10).await.unwrap();
    for number in [1, 2] {
        let before = store.key(&key(number).scope, &key(number).id).await.unwrap().unwrap();
        let after = Key { revision: before.revision + 1, materials: vec![wrapped_by(new)], ..before };
        store.replace_key(Arc::new(after)).await.unwrap();
    }
    assert_eq!(store.keys_to_rewrap(0).await.unwrap().keys, []);
    store.retire_root_key(RootKeyId(old)).await.unwrap();
    assert_eq!(store.create_key(Arc::new(with(3, old)), 10).await, Err(StoreError::Conflict));
    store.create_key(Arc::new(with(3, new)), 10).await.unwrap();
    store.rotate_root_key(rotation(new, [0xc3; 16])).await.unwrap();
    assert_eq!(store.root_key_uses().await.unwrap(), RootKeyUses { current: 0, others: 3 });
}
