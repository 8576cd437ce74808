//! `ReplicateKey`: a key with the same id and material in another Region.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    AccountAction, ConditionKey, Key, KeyAction, MultiRegionKeyType, NewReplica, Region, Tag,
};
use crate::gate::kms::{Call, Replicated, Use};
use crate::kms::error::Error;
use crate::kms::key_policy;
use crate::kms::operations::Operation;
use crate::kms::operations::create_key::{conditions_of_kind, explain};
use crate::kms::operations::metadata::KeyMetadata;
use crate::kms::tags;
use crate::kms::tags::TagEntry;

pub(super) struct ReplicateKey;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow)]
    replica_region: Cow<'b, str>,
    #[serde(borrow, default)]
    policy: Option<Cow<'b, str>>,
    bypass_policy_lockout_safety_check: Option<bool>,
    description: Option<String>,
    tags: Option<Vec<TagEntry>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    replica_key_metadata: KeyMetadata,
    replica_policy: String,
    replica_tags: Vec<TagEntry>,
}

impl<'b> Operation<'b> for ReplicateKey {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let region = region(&request.replica_region)?;
        let condition = [(ConditionKey::ReplicaRegion.as_str().into(), region.as_str().into())];
        let usage = Use { conditions: &condition, ..Use::default() };
        let primary = call.open(KeyAction::ReplicateKey, &request.key_id, usage).await?;
        let elsewhere = call.elsewhere(region.clone());
        let there = elsewhere.call(call);
        let (policy, tags) = own_properties(&there, primary.key(), &request)?;
        let new = NewReplica {
            region,
            created: call.now(),
            description: request.description.unwrap_or_default(),
            policy,
            tags,
        };
        let Replicated { replica, related } = primary.replicate(new).await.map_err(explain)?;
        Ok(Response {
            replica_key_metadata: KeyMetadata::of(&replica, replica.state, None).related_to(&related),
            replica_policy: replica.policy.to_string(),
            replica_tags: replica.tags.iter().cloned().map(TagEntry::from).collect(),
        })
    }
}

/// What looks like a Region is one (`RegionType` of the service model).
pub(super) fn region(name: &str) -> Result<Region, Error> {
    Region::parse(name).ok_or_else(|| Error::validation(format!("Invalid Region {name}")))
}

/// Policy and tags of the replica, for a caller who may create a key in its Region: nothing of them is the primary's.
fn own_properties(
    there: &Call<'_>,
    primary: &Key,
    request: &Request<'_>,
) -> Result<(Arc<str>, Vec<Tag>), Error> {
    let bypass = request.bypass_policy_lockout_safety_check;
    let tags = request.tags.as_deref().unwrap_or_default();
    let mut conditions = tags::conditions(tags);
    let (kind, replica) = ((primary.spec, primary.usage), Some(MultiRegionKeyType::Replica));
    conditions.extend(conditions_of_kind(kind, primary.origin, replica));
    conditions.extend(key_policy::bypass_condition(bypass));
    let wanted = Use { conditions: &conditions, ..Use::default() };
    let account = there.account(AccountAction::CreateKey, wanted)?;
    if !tags.is_empty() {
        there.account(AccountAction::TagResource, wanted)?;
    }
    let policy = match request.policy.as_deref() {
        Some(policy) => {
            key_policy::check(there, None, policy, bypass)?;
            policy.into()
        }
        None => key_policy::default_policy(account.scope()).into(),
    };
    Ok((policy, tags::merged(&[], tags.to_vec())?))
}
