//! Tags in requests and answers, and what is demanded of them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::Tag;
use crate::kms::error::Error;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagEntry {
    tag_key: String,
    tag_value: String,
}

/// AWS KMS Developer Guide, Tags in AWS KMS.
const TAGS_MAX: usize = 50;
const RESERVED_PREFIX: &str = "aws:";

impl From<Tag> for TagEntry {
    fn from(tag: Tag) -> Self {
        Self { tag_key: tag.key, tag_value: tag.value }
    }
}

/// The condition keys of a request with tags.
pub(super) fn conditions(tags: &[TagEntry]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    tags.iter()
        .flat_map(|tag| {
            [
                (format!("aws:RequestTag/{}", tag.tag_key).into(), tag.tag_value.as_str().into()),
                ("aws:TagKeys".into(), tag.tag_key.as_str().into()),
            ]
        })
        .collect()
}

/// The tags with new ones among them, in the order of their keys.
pub(super) fn merged(present: &[Tag], new: Vec<TagEntry>) -> Result<Vec<Tag>, Error> {
    let mut keys: Vec<_> = new.iter().map(|tag| tag.tag_key.as_str()).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| matches!(pair, [one, next] if one == next)) {
        return Err(Error::Tag("Duplicate tag keys".to_owned()));
    }
    let is_reserved = |key: &&str| {
        key.get(..RESERVED_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
    };
    if keys.iter().any(is_reserved) {
        return Err(Error::Tag("Tags beginning with aws: are reserved".to_owned()));
    }
    let mut tags: Vec<_> =
        present.iter().filter(|tag| keys.binary_search(&tag.key.as_str()).is_err()).cloned().collect();
    tags.extend(new.into_iter().map(|tag| Tag { key: tag.tag_key, value: tag.tag_value }));
    tags.sort_by(|one, other| one.key.cmp(&other.key));
    if tags.len() > TAGS_MAX {
        return Err(Error::Tag("Too many tags".to_owned()));
    }
    Ok(tags)
}
