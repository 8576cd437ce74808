//! The SQLite store as a file: kept over restarts, kills and full disks, copied, put back, or refused.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdfast::domain::kms::{Key, RootKeyId};
use holdfast::store::sqlite::{BackupError, OpenError, SchemaError, SqliteStore, inspect, restore};
use holdfast::store::{Setting, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::store_conformance::custom_key_stores::{cluster_key, cluster_store, external_key, external_store};
use crate::store_conformance::{AnyStore, alias, at_once, create_keys, key, key_id, next_revision, scope};

const FOLDER: &str = "STORE_TEST_FOLDER";

fn open(folder: &Path) -> AnyStore {
    Arc::new(SqliteStore::open(folder).unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_in_files_that_the_owner_alone_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    create_keys(&store, 0..5).await;
    for name in ["kms.db", "kms.db-wal", "kms.db-shm", "kms.lock"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    drop(store);
    assert!(!folder.path().join("kms.db-wal").exists(), "the log is not emptied at the end");
    let database = folder.path().join("kms.db");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(folder.path());
    assert_eq!(mode(&database), 0o600);
    assert_eq!(store.key(&scope(), &key_id(3)).await, Ok(Some(key(3))));
    assert_eq!(store.create_key(Arc::new(key(9)), 5).await, Err(StoreError::LimitExceeded));
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(matches!(SqliteStore::open(folder.path()), Err(OpenError::InUse(_))));
    assert!(matches!(restore(Path::new("/nowhere"), folder.path()), Err(BackupError::InUse(_))));
    drop(store);
    open(folder.path());
}

#[test]
fn what_is_not_our_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kms.db");
    fs::write(&path, "x".repeat(5000)).unwrap();
    let refusal = SqliteStore::open(folder.path()).err().unwrap();
    assert!(matches!(refusal, OpenError::Schema(_, SchemaError::NotOurs)), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), "x".repeat(5000).into_bytes());
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let theirs = fs::read(&path).unwrap();
    let refusal = SqliteStore::open(folder.path()).err().unwrap();
    assert!(matches!(refusal, OpenError::Schema(_, SchemaError::NotOurs)), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), theirs);
    assert!(SqliteStore::open(&folder.path().join("absent")).is_err());
}

#[tokio::test]
async fn a_schema_of_a_later_release_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = folder.path().join("kms.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refusal = SqliteStore::open(folder.path()).err().unwrap();
    assert!(matches!(refusal, OpenError::Schema(_, SchemaError::Newer { found: 99, .. })), "{refusal}");
    assert!(refusal.to_string().contains("version 99"), "{refusal}");
    assert!(matches!(inspect(&path), Err(BackupError::Schema(_, SchemaError::Newer { .. }))));
}

#[tokio::test]
async fn a_backup_made_while_others_write_is_whole_and_can_be_put_back() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path());
    store.set_once(Setting::RootKeyId, vec![4; 16]).await.unwrap();
    // Some megabytes, so that there are several steps.
    let large = |number| Key { policy: Arc::from("p".repeat(30_000)), ..key(number) };
    for number in 0..200 {
        store.create_key(Arc::new(large(number)), 10_000).await.unwrap();
    }
    let file = elsewhere.path().join("backup.db");
    let (backup, writes) = tokio::join!(
        store.back_up(&file),
        at_once(100, |number| {
            let store = Arc::clone(&store);
            async move { store.create_key(Arc::new(large(1000 + number)), 10_000).await }
        })
    );
    assert_eq!(backup, Ok(()));
    assert!(writes.iter().all(Result::is_ok));
    let facts = inspect(&file).unwrap();
    assert_eq!((facts.schema_version, &facts.root_keys), (6, &vec![RootKeyId([4; 16])]));
    assert!((200..=300).contains(&facts.keys), "{facts:?}");
    assert_eq!(mode(&file), 0o600);
    let names: Vec<_> =
        fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["backup.db"], "a backup is one file");
    let again = store.back_up(&file).await;
    assert!(
        matches!(&again, Err(StoreError::Unavailable(why)) if why.contains("exists already")),
        "{again:?}"
    );
    assert_eq!(inspect(&file).unwrap(), facts);

    let restored = tempfile::tempdir().unwrap();
    assert_eq!(restore(&file, restored.path()).unwrap(), facts);
    assert!(matches!(restore(&file, restored.path()), Err(BackupError::Exists(_))));
    assert_eq!(mode(&restored.path().join("kms.db")), 0o600);
    let restored = open(restored.path());
    assert_eq!(restored.key(&scope(), &key_id(7)).await, Ok(Some(large(7))));
    assert_eq!(restored.create_key(Arc::new(key(5000)), facts.keys).await, Err(StoreError::LimitExceeded));
    assert_eq!(restored.create_key(Arc::new(key(5000)), facts.keys + 1).await, Ok(()));
}

#[tokio::test]
async fn a_backup_has_the_custom_key_stores_and_which_key_is_in_which() {
    let (folder, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path());
    let keys = [key(1), cluster_key(2, 1), external_key(3, 2, "x")];
    for key_store in [cluster_store(1), external_store(2)] {
        store.create_custom_key_store(key_store, 10).await.unwrap();
    }
    for key in keys.clone() {
        store.create_key(Arc::new(key), 10).await.unwrap();
    }
    let file = folder.path().join("backup.db");
    store.back_up(&file).await.unwrap();
    store.clear_keys().await.unwrap();
    assert_eq!(restore(&file, restored.path()).unwrap().keys, 3);
    let restored = open(restored.path());
    assert_eq!(restored.custom_key_stores(None).await, Ok(vec![cluster_store(1), external_store(2)]));
    for key in keys {
        assert_eq!(restored.key(&scope(), &key.id).await, Ok(Some(key)));
    }
}

/// A database as the first schema has it, with `key(1)` and an alias of it.
fn write_first_schema(path: &Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute_batch(include_str!("../../src/store/sqlite/migrations/0001_keys.sql")).unwrap();
    database.pragma_update(None, "application_id", 0x4846_7374).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    let scope =
        "INSERT INTO scope (scope_id, account, region, keys) VALUES (1, '123456789012', 'eu-central-1', 1)";
    database.execute(scope, []).unwrap();
    let key = r#"INSERT INTO kms_key (key_no, scope_id, id, revision, created, description, spec, usage, origin,
            multi_region, state, tags, policy)
        VALUES (1, 1, ?1, 1, 1700000000000, 'for the tests', 'SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'AWS_KMS',
            0, 'Enabled', '[["a",""],["é","\""]]', '{"Version":"2012-10-17","Statement":[]}')"#;
    database.execute(key, [key_id(1).as_str()]).unwrap();
    let material = "INSERT INTO material (key_no, position, id, created, encryptions, mechanism, wrapped)
        VALUES (1, 0, ?1, 1, 0, -2, ?2)";
    database.execute(material, [[1_u8; 32].as_slice(), &[1; 40]]).unwrap();
    let alias = "INSERT INTO alias (scope_id, name, key_no, created, updated) VALUES (1, 'alias/a', 1, 1, 2)";
    database.execute(alias, []).unwrap();
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_brought_up_to_date_with_all_that_is_in_it() {
    let (folder, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("kms.db");
    write_first_schema(&path);
    let facts = inspect(&path).unwrap();
    assert_eq!((facts.schema_version, facts.keys), (1, 1));
    // An old backup too.
    assert_eq!(restore(&path, restored.path()).unwrap(), facts);
    for folder in [folder, restored] {
        let store = open(folder.path());
        let old = Key { aliases: vec![alias("a", 1).name], ..key(1) };
        assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(old.clone())));
        let next = next_revision(&old);
        store.replace_key(Arc::new(next.clone())).await.unwrap();
        store.create_custom_key_store(external_store(2), 1).await.unwrap();
        store.create_key(Arc::new(external_key(3, 2, "x")), 2).await.unwrap();
        drop(store);
        assert_eq!(inspect(&folder.path().join("kms.db")).unwrap().schema_version, 6);
        let store = open(folder.path());
        assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(next)));
        assert_eq!(store.key(&scope(), &key_id(3)).await, Ok(Some(external_key(3, 2, "x"))));
    }
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_or_is_damaged_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    create_keys(&store, 0..200).await;
    let nowhere = store.back_up(&folder.path().join("absent/backup.db")).await;
    assert!(matches!(nowhere, Err(StoreError::Unavailable(_))));
    let file = folder.path().join("backup.db");
    store.back_up(&file).await.unwrap();
    damage(&file, 4096 * 29);
    assert!(inspect(&file).is_err());
    let target = tempfile::tempdir().unwrap();
    assert!(restore(&file, target.path()).is_err());
    assert!(!target.path().join("kms.db").exists());
    fs::write(&file, "no database").unwrap();
    assert!(matches!(inspect(&file), Err(BackupError::Schema(_, SchemaError::NotOurs))));
    assert!(inspect(&folder.path().join("absent")).is_err());
}

/// Overwrites every page from `first` on.
fn damage(file: &Path, first: u64) {
    let length = fs::metadata(file).unwrap().len();
    assert!(length > first);
    let garbage = vec![0xa5; usize::try_from(length - first).unwrap()];
    fs::OpenOptions::new().write(true).open(file).unwrap().write_at(&garbage, first).unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_unavailable_and_the_process_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kms.db");
    drop(open(folder.path()));
    let empty = fs::metadata(&file).unwrap().len();
    let store = open(folder.path());
    create_keys(&store, 0..200).await;
    drop(store);
    damage(&file, empty);
    let store = open(folder.path());
    for _ in 0..3 {
        let read = store.key(&scope(), &key_id(1)).await;
        assert!(matches!(&read, Err(StoreError::Unavailable(why)) if why.contains("malformed")), "{read:?}");
        let written = store.create_key(Arc::new(key(500)), 1000).await;
        assert!(matches!(&written, Err(StoreError::Unavailable(_))), "{written:?}");
    }
}

/// This program again, as one of the ignored tests below.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "--test-threads=1", test]).env(FOLDER, folder);
    command
}

#[test]
fn a_disk_that_takes_no_more_refuses_writes_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let test = "store_sqlite::a_process_whose_files_may_not_grow";
    let output = child(test, folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "limits its process: started by the test above"]
async fn a_process_whose_files_may_not_grow() {
    let folder = std::env::var_os(FOLDER).unwrap();
    // Without a handler the first write too many would end the process.
    signal_hook::flag::register(25, Arc::default()).unwrap();
    let store = open(Path::new(&folder));
    create_keys(&store, 0..10).await;
    let unlimited = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(600_000), ..unlimited }).unwrap();
    let large = |number| Arc::new(Key { policy: Arc::from("p".repeat(30_000)), ..key(number) });
    let mut number = 10;
    while store.create_key(large(number), 1000).await.is_ok() {
        number += 1;
        assert!(number < 100, "the limit is not felt");
    }
    for _ in 0..3 {
        let refused = store.create_key(large(number), 1000).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert_eq!(store.keys_page(&scope(), None, 1000).await.unwrap().len(), usize::try_from(number).unwrap());
    setrlimit(Resource::Fsize, unlimited).unwrap();
    assert_eq!(store.create_key(large(number), 1000).await, Ok(()));
    drop(store);
    let store = open(Path::new(&folder));
    assert_eq!(
        store.keys_page(&scope(), None, 1000).await.unwrap().len(),
        usize::try_from(number).unwrap() + 1
    );
}

const KILLS: usize = 20;

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u32> = Vec::new();
    for round in 0..KILLS {
        let mut writer = child("store_sqlite::a_process_that_writes_until_it_is_killed", folder.path())
            .env("STORE_TEST_FIRST", (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Somewhere in the stream of acknowledgements, another place each time.
        let last = 1 + round * round * 7 % 90;
        let number =
            |line: String| line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u32>().ok());
        acknowledged.extend(lines.by_ref().filter_map(number).take(last));
        writer.kill().unwrap();
        writer.wait().unwrap();
        acknowledged.extend(lines.filter_map(number));
        let store = open(folder.path());
        for number in &acknowledged {
            let stored = store.key(&scope(), &key_id(*number)).await.unwrap();
            assert_eq!(stored, Some(key(*number)), "after kill {round}");
        }
    }
    assert!(acknowledged.len() > KILLS);
    let file = folder.path().join("backup.db");
    open(folder.path()).back_up(&file).await.unwrap();
    assert!(inspect(&file).unwrap().keys >= acknowledged.len() as u64);
}

#[tokio::test]
#[ignore = "writes until it is killed: started by the test above"]
async fn a_process_that_writes_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let first: u32 = std::env::var_os("STORE_TEST_FIRST").unwrap().to_str().unwrap().parse().unwrap();
    let store = open(Path::new(&folder));
    for group in (first..).step_by(4) {
        at_once(4, |offset| {
            let store = Arc::clone(&store);
            async move {
                store.create_key(Arc::new(key(group + offset)), u64::MAX).await.unwrap();
                // One call, so that lines of others do not get into it.
                let line = format!("acknowledged {}\n", group + offset);
                std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
            }
        })
        .await;
    }
}
