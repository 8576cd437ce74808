//! Lifecycle events that are still to be told: written with what they tell of, and removed when they were told.

use rusqlite::{Connection, Row, params};

use crate::domain::kms::{LifecycleEvent, LifecycleEventKind, UnixMillis, Uuid};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::word;
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{numbers, scopes};
use crate::store::{Outbox, OutboxEntry};

/// Of those that need not be told. When the receiver is gone for so long, the oldest are forgotten.
const BEST_EFFORT_MAX: u64 = 10_000;

statements! {
    ADD = "INSERT INTO lifecycle_event (id, kind, account, region, key_id, happened)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    COUNT = "SELECT COUNT(*) AS events FROM lifecycle_event INDEXED BY lifecycle_event_by_kind WHERE kind = ?1";
    FORGET_OLDEST = "DELETE FROM lifecycle_event WHERE number =
        (SELECT MIN(number) FROM lifecycle_event INDEXED BY lifecycle_event_by_kind WHERE kind = ?1)";
    FIRST = "SELECT number, id, kind, account, region, key_id, happened FROM lifecycle_event
        WHERE number > 0 ORDER BY number LIMIT ?1";
    REMOVE = "DELETE FROM lifecycle_event WHERE number = ?1";
    CLEAR = "DELETE FROM lifecycle_event WHERE number > 0";
}

/// Adds an event; the number of those forgotten for it.
pub(super) fn add(connection: &Connection, event: &LifecycleEvent) -> Result<u64, Fault> {
    let mut forgotten = 0;
    if !event.kind.is_guaranteed() && count(connection, event.kind)? >= BEST_EFFORT_MAX {
        connection.prepare_cached(FORGET_OLDEST)?.execute(params![event.kind.as_str()])?;
        forgotten = 1;
    }
    let row = params![
        event.id.as_str(),
        event.kind.as_str(),
        event.scope.account.as_str(),
        event.scope.region.as_str(),
        event.key_id.as_str(),
        event.at.0,
    ];
    connection.prepare_cached(ADD)?.execute(row)?;
    Ok(forgotten)
}

/// The oldest, and how many there are of each kind.
pub(super) fn first(connection: &Connection, limit: usize) -> Result<Outbox, Fault> {
    let mut first = connection.prepare_cached(FIRST)?;
    let entries = first.query_and_then(params![numbers::bound(limit)], read)?.collect::<Result<_, _>>()?;
    let mut waiting = Vec::new();
    for kind in LifecycleEventKind::ALL {
        waiting.push((*kind, count(connection, *kind)?));
    }
    Ok(Outbox { entries, waiting })
}

pub(super) fn remove(connection: &Connection, number: u64) -> Result<(), Fault> {
    connection.prepare_cached(REMOVE)?.execute(params![numbers::bound(number)])?;
    Ok(())
}

pub(super) fn clear(connection: &Connection) -> Result<(), Fault> {
    connection.prepare_cached(CLEAR)?.execute([])?;
    Ok(())
}

fn count(connection: &Connection, kind: LifecycleEventKind) -> Result<u64, Fault> {
    let mut count = connection.prepare_cached(COUNT)?;
    let events: i64 = count.query_row(params![kind.as_str()], |row| row.get("events"))?;
    numbers::read(events, "events")
}

fn read(row: &Row<'_>) -> Result<OutboxEntry, Fault> {
    Ok(OutboxEntry {
        number: numbers::read(row.get("number")?, "number")?,
        event: LifecycleEvent {
            id: word(row, "id", Uuid::parse)?,
            kind: word(row, "kind", LifecycleEventKind::parse)?,
            scope: scopes::read(row)?,
            key_id: word(row, "key_id", crate::domain::kms::KeyId::parse)?,
            at: UnixMillis(row.get("happened")?),
        },
    })
}
