//! `GetKeyMetadata`: what kind of key it is, what it may be used for, and whether it is enabled.

use bytes::Bytes;
use proxy_api::wire::{
    KEY_USAGE_DECRYPT, KEY_USAGE_ENCRYPT, KeyStatus, MetadataRequest, MetadataResponse, Operation,
};

use crate::domain::Action;
use crate::gate::{Call, Refused};
use crate::xks::error::Error;
use crate::xks::operations::{Context, parse, require_metadata, to_json};
use crate::xks::record::Record;

pub(in crate::xks) async fn run<'b>(
    context: &Context<'_>,
    body: &'b [u8],
    record: &mut Record<'b>,
) -> Result<Bytes, Error> {
    let request: MetadataRequest<'b> = parse(body)?;
    record.metadata = Some(request.request_metadata.clone());
    require_metadata(&request.request_metadata, Operation::GetKeyMetadata)?;

    let call = Call {
        key_store: context.key_store,
        metadata: &request.request_metadata,
        deadline: context.deadline,
    };
    let key = call.open(Action::GetKeyMetadata, context.external_key_id).await?;
    record.policy_statement.clone_from(&key.policy_statement);
    let newest = key.newest().ok_or(Refused::KeyMissing)?;
    record.key_version = Some(newest.number());
    let usages = [(newest.usages.encrypt, KEY_USAGE_ENCRYPT), (newest.usages.decrypt, KEY_USAGE_DECRYPT)];
    to_json(&MetadataResponse {
        key_spec: newest.spec.as_str().into(),
        key_usage: usages
            .into_iter()
            .filter(|(permitted, _)| *permitted)
            .map(|(_, usage)| usage.into())
            .collect(),
        key_status: if key.is_enabled() { KeyStatus::Enabled } else { KeyStatus::Disabled },
    })
}
