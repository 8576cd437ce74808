//! A key as columns, and back.

use std::sync::Arc;

use rusqlite::{Row, ToSql};

use crate::domain::kms::{
    CustomKeyStoreId, Deletion, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage, MultiRegionKeyType,
    Origin, Rotation, Scope, Tag, UnixMillis, XksKeyId,
};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::numbers;

/// What a key comes to in its row.
pub(super) struct KeyColumns<'a> {
    id: &'a str,
    revision: i64,
    created: i64,
    description: &'a str,
    spec: &'static str,
    usage: &'static str,
    origin: &'static str,
    multi_region_key_type: Option<&'static str>,
    state: &'static str,
    deletion_due: Option<i64>,
    deletion_window_days: Option<u16>,
    waiting_window_days: Option<u16>,
    rotation_next: Option<i64>,
    rotation_period_days: Option<u16>,
    tags: String,
    policy: &'a str,
}

impl<'a> KeyColumns<'a> {
    pub(super) fn of(key: &'a Key) -> Result<Self, Fault> {
        let dated = key.deletion.and_then(|deletion| Some((deletion.due?, deletion.window_days)));
        let waiting = key.deletion.filter(|deletion| deletion.due.is_none());
        Ok(Self {
            id: key.id.as_str(),
            revision: numbers::stored(key.revision, "revision")?,
            created: key.created.0,
            description: &key.description,
            spec: key.spec.as_str(),
            usage: key.usage.as_str(),
            origin: key.origin.as_str(),
            multi_region_key_type: key.multi_region.map(MultiRegionKeyType::as_str),
            state: key.state.as_str(),
            deletion_due: dated.map(|(due, _)| due.0),
            deletion_window_days: dated.map(|(_, window_days)| window_days),
            waiting_window_days: waiting.map(|deletion| deletion.window_days),
            rotation_next: key.rotation.map(|rotation| rotation.next.0),
            rotation_period_days: key.rotation.map(|rotation| rotation.period_days),
            tags: tags_text(&key.tags)?,
            policy: &key.policy,
        })
    }

    /// The columns by their names; `place` is the scope of a new row, the number of one that is there.
    pub(super) fn params<'p>(&'p self, place: &'p i64) -> [(&'static str, &'p dyn ToSql); 17] {
        [
            (":place", place),
            (":id", &self.id),
            (":revision", &self.revision),
            (":created", &self.created),
            (":description", &self.description),
            (":spec", &self.spec),
            (":usage", &self.usage),
            (":origin", &self.origin),
            (":multi_region_key_type", &self.multi_region_key_type),
            (":state", &self.state),
            (":deletion_due", &self.deletion_due),
            (":deletion_window_days", &self.deletion_window_days),
            (":waiting_window_days", &self.waiting_window_days),
            (":rotation_next", &self.rotation_next),
            (":rotation_period_days", &self.rotation_period_days),
            (":tags", &self.tags),
            (":policy", &self.policy),
        ]
    }
}

/// A key without its materials and aliases.
pub(super) fn read_key(row: &Row<'_>, scope: &Scope, id: &KeyId) -> Result<Key, Fault> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixMillis));
    let dated = time("deletion_due")?.zip(row.get("deletion_window_days")?);
    let dated = dated.map(|(due, window_days)| Deletion { due: Some(due), window_days });
    let waiting: Option<u16> = row.get("waiting_window_days")?;
    let waiting = waiting.map(|window_days| Deletion { due: None, window_days });
    let rotation = time("rotation_next")?.zip(row.get("rotation_period_days")?);
    Ok(Key {
        scope: scope.clone(),
        id: id.clone(),
        revision: numbers::read(row.get("revision")?, "revision")?,
        created: UnixMillis(row.get("created")?),
        description: row.get("description")?,
        spec: word(row, "spec", KeySpec::parse)?,
        usage: word(row, "usage", KeyUsage::parse)?,
        origin: word(row, "origin", Origin::parse)?,
        place: read_place(row)?,
        multi_region: optional_word(row, "multi_region_key_type", MultiRegionKeyType::parse)?,
        state: word(row, "state", KeyState::parse)?,
        deletion: dated.or(waiting),
        rotation: rotation.map(|(next, period_days)| Rotation { period_days, next }),
        policy: row.get::<_, Arc<str>>("policy")?,
        tags: read_tags(&row.get::<_, String>("tags")?)?,
        aliases: Vec::new(),
        materials: Vec::new(),
    })
}

fn read_place(row: &Row<'_>) -> Result<KeyPlace, Fault> {
    let store = optional_word(row, "store_id", CustomKeyStoreId::parse)?;
    match (store, optional_word(row, "xks_key_id", XksKeyId::parse)?) {
        (None, None) => Ok(KeyPlace::Default),
        (Some(store), None) => Ok(KeyPlace::CloudHsm { store }),
        (Some(store), Some(xks_key_id)) => Ok(KeyPlace::External { store, xks_key_id }),
        (None, Some(_)) => Err(Fault::Value("xks_key_id")),
    }
}

/// The id of a key from the column `id`.
pub(super) fn read_key_id(row: &Row<'_>) -> Result<KeyId, Fault> {
    word(row, "id", KeyId::parse)
}

/// A text that means something.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Fault> {
    let text = row.get_ref(column)?.as_str().map_err(|_| Fault::Value(column))?;
    parse(text).ok_or(Fault::Value(column))
}

/// A text that means something, or NULL.
pub(super) fn optional_word<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Fault> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|_| Fault::Value(column))?;
    text.map(|text| parse(text).ok_or(Fault::Value(column))).transpose()
}

fn tags_text(tags: &[Tag]) -> Result<String, Fault> {
    let pairs: Vec<_> = tags.iter().map(|tag| (&tag.key, &tag.value)).collect();
    serde_json::to_string(&pairs).map_err(|_| Fault::Value("tags"))
}

fn read_tags(text: &str) -> Result<Vec<Tag>, Fault> {
    let pairs: Vec<(String, String)> = serde_json::from_str(text).map_err(|_| Fault::Value("tags"))?;
    Ok(pairs.into_iter().map(|(key, value)| Tag { key, value }).collect())
}
