//! Query plans, groups and a full disk, seen from inside.

mod rows;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use rusqlite::{Connection, params};

use super::connection::{Access, open, prepare_to_write};
use super::{SqliteStore, WRITE_QUEUE_LENGTH, aliases, custom_key_stores, due, grants, identities, keys};
use super::{lifecycle_events, materials, prepare, related_keys, root_keys, scopes, usage};
use crate::domain::kms::{
    AccountId, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage, Origin, Region, Scope, UnixMillis,
};
use crate::store::{Setting, Store, StoreError, Stored};

fn scope() -> Scope {
    let account = AccountId::parse("123456789012").unwrap();
    Scope { account, region: Region::parse("eu-central-1").unwrap() }
}

/// A database in memory with the newest schema.
fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    super::schema::migrate(&mut connection, super::MIGRATIONS).unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection
}

fn plain_key(number: u8) -> Key {
    Key {
        scope: scope(),
        id: KeyId::from_random([number; 16], false),
        revision: 1,
        created: UnixMillis(1),
        description: String::new(),
        spec: KeySpec::SymmetricDefault,
        usage: KeyUsage::EncryptDecrypt,
        origin: Origin::AwsKms,
        place: KeyPlace::Default,
        multi_region: None,
        state: KeyState::Enabled,
        deletion: None,
        rotation: None,
        policy: Arc::from("{}"),
        tags: Vec::new(),
        aliases: Vec::new(),
        materials: Vec::new(),
    }
}

#[test]
fn no_statement_goes_through_a_whole_table_or_sorts() {
    let database = database();
    let of_modules = [
        aliases::ALL,
        custom_key_stores::ALL,
        due::ALL,
        grants::ALL,
        identities::ALL,
        keys::ALL,
        lifecycle_events::ALL,
        materials::ALL,
        related_keys::ALL,
        root_keys::ALL,
        scopes::ALL,
        usage::ALL,
    ];
    let statements: Vec<_> = of_modules.into_iter().flatten().collect();
    for sql in &statements {
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        (1..=explain.parameter_count()).for_each(|index| explain.raw_bind_parameter(index, 1).unwrap());
        let mut rows = explain.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get("detail").unwrap();
            let is_all_identities = step == "SCAN identity" && sql.contains("ORDER BY account, kind, name");
            // Of which there are a handful, as there are of scopes.
            let is_all_key_stores = step.starts_with("SCAN s USING COVERING INDEX")
                && sql.contains("ORDER BY s.account, s.region, c.id");
            let is_count = step.starts_with("SCAN (subquery") || step == "SCAN CONSTANT ROW";
            let is_bad = step.starts_with("SCAN") || step.contains("TEMP B-TREE");
            assert!(!is_bad || is_all_identities || is_all_key_stores || is_count, "{sql}\n{step}");
        }
    }
    assert!(statements.len() > 50, "only {} statements", statements.len());
}

/// A store, and the channel that lets its writer go on.
fn blocked_store(folder: &tempfile::TempDir) -> (SqliteStore, mpsc::Sender<()>) {
    let store = SqliteStore::open(folder.path()).unwrap();
    let (go, wait) = mpsc::channel();
    let (running, is_running) = mpsc::channel();
    let mut blocker = store.write("test", move |_| {
        running.send(()).unwrap();
        wait.recv().unwrap();
        Ok(())
    });
    begin(&mut blocker);
    is_running.recv().unwrap();
    drop(blocker);
    (store, go)
}

/// Puts a job into the queue without waiting for its answer.
fn begin<T>(job: &mut Stored<'_, T>) {
    let poll = Pin::new(job).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Pending));
}

#[tokio::test]
async fn jobs_that_wait_together_are_one_transaction_and_a_failed_one_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, go) = blocked_store(&folder);
    let mut first = store.create_key(Arc::new(plain_key(1)), 10);
    let mut refused = store.write("test", |connection| {
        keys::create(connection, &plain_key(2), 10)?;
        Err::<(), _>(StoreError::Conflict.into())
    });
    let other = open(&folder.path().join("kms.db"), Access::Read).unwrap();
    let mut seen = store.write("test", move |connection| {
        let of = |connection: &Connection| keys::page(connection, &scope(), None, 10).unwrap();
        Ok((of(connection), of(&other)))
    });
    begin(&mut first);
    begin(&mut refused);
    begin(&mut seen);
    go.send(()).unwrap();
    assert_eq!(first.await, Ok(()));
    assert_eq!(refused.await, Err(StoreError::Conflict));
    let (inside, outside) = seen.await.unwrap();
    assert_eq!((inside, outside), (vec![plain_key(1).id], Vec::new()));
    assert_eq!(store.keys_page(&scope(), None, 10).await.unwrap(), [plain_key(1).id]);
}

#[tokio::test]
async fn if_the_commit_fails_nobody_of_the_group_is_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (store, go) = blocked_store(&folder);
    let mut good = store.create_key(Arc::new(plain_key(1)), 10);
    let mut twin = store.create_key(Arc::new(plain_key(1)), 10);
    // A row that belongs to no key, which SQLite is told to notice at the commit only.
    let mut orphan = store.write("test", |connection| {
        connection.pragma_update(None, "defer_foreign_keys", true)?;
        let sql = "INSERT INTO grant_count (key_no, grants) VALUES (?1, 1)";
        Ok(connection.execute(sql, params![4711]).map(drop)?)
    });
    [&mut good, &mut twin, &mut orphan].into_iter().for_each(begin);
    go.send(()).unwrap();
    for job in [good, twin, orphan] {
        let result = job.await;
        assert!(
            matches!(&result, Err(StoreError::Unavailable(why)) if why.contains("FOREIGN KEY")),
            "{result:?}"
        );
    }
    assert_eq!(store.key(&scope(), &plain_key(1).id).await, Ok(None));
    assert_eq!(store.create_key(Arc::new(plain_key(1)), 10).await, Ok(()));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, go) = blocked_store(&folder);
    let write = || store.set_once(Setting::RootKeyId, vec![1]);
    let mut waiting: Vec<_> = (0..WRITE_QUEUE_LENGTH).map(|_| write()).collect();
    waiting.iter_mut().for_each(begin);
    let full = StoreError::Unavailable("too much waits for the database".to_owned());
    assert_eq!(write().await, Err(full));
    go.send(()).unwrap();
    for job in waiting {
        assert_eq!(job.await, Ok(vec![1]));
    }
}

#[tokio::test]
async fn a_full_database_refuses_writes_goes_on_reading_and_writes_again_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let limit = |pages: i64| {
        store.write("test", move |connection| {
            let set = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            Ok(connection.pragma_update_and_check(None, "max_page_count", pages, set)?)
        })
    };
    limit(1).await.unwrap();
    let big = |number| Arc::new(Key { policy: Arc::from("x".repeat(20_000)), ..plain_key(number) });
    let mut number = 1;
    let refusal = loop {
        match store.create_key(big(number), 1000).await {
            Ok(()) => number += 1,
            Err(refusal) => break refusal,
        }
        assert!(number < 50, "the database is never full");
    };
    let reason = "database: database or disk is full".to_owned();
    assert_eq!(refusal, StoreError::Unavailable(reason));
    assert_eq!(store.key(&scope(), &big(number).id).await, Ok(None));
    let before: Vec<_> = (1..number).map(|number| plain_key(number).id).collect();
    assert_eq!(store.keys_page(&scope(), None, 100).await.unwrap(), before);
    limit(1_000_000).await.unwrap();
    assert_eq!(store.create_key(big(number), 1000).await, Ok(()));
    assert_eq!(store.keys_page(&scope(), None, 100).await.unwrap().len(), usize::from(number));
}

#[test]
fn a_connection_that_writes_is_as_strict_as_sqlite_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kms.db");
    super::files::make_private(&path).unwrap();
    prepare(&path).unwrap();
    let connection = open(&path, Access::Write).unwrap();
    prepare_to_write(&connection).unwrap();
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let values = ["synchronous", "foreign_keys", "secure_delete", "trusted_schema"].map(pragma);
    assert_eq!(values, [2, 1, 1, 0]);
    let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(journal, "wal");
    let reader = open(&path, Access::Read).unwrap();
    assert!(reader.execute("DELETE FROM scope", []).is_err());
}
