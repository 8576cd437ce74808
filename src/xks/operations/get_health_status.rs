//! `GetHealthStatus`: what the last probe of each HSM found. No policy applies, and no HSM is asked.

use bytes::Bytes;
use proxy_api::wire::{
    EKM_FLEET_DETAILS_MAX, EkmFleetDetail, HealthRequest, HealthResponse, HealthStatus, Operation,
};

use crate::gate::KeyStore;
use crate::key_manager::{HealthState, MemberHealth};
use crate::xks::error::Error;
use crate::xks::operations::{parse, require_metadata, to_json};
use crate::xks::record::Record;

const VENDOR: &str = "Holdfast";
const MODEL: &str = concat!("Holdfast ", env!("CARGO_PKG_VERSION"));

pub(in crate::xks) fn run<'b>(
    key_store: &KeyStore,
    fleet_size: u32,
    body: &'b [u8],
    record: &mut Record<'b>,
) -> Result<Bytes, Error> {
    let request: HealthRequest<'b> = parse(body)?;
    record.metadata = Some(request.request_metadata.clone());
    require_metadata(&request.request_metadata, Operation::GetHealthStatus)?;

    let mut members = key_store.health();
    let vendor = members.iter().map(|member| member.vendor.clone()).find(|vendor| !vendor.is_empty());
    // At most ten fit: the worst, which are the ones to look at.
    members.sort_by(|a, b| (a.state, &a.id).cmp(&(b.state, &b.id)));
    members.truncate(EKM_FLEET_DETAILS_MAX);
    to_json(&HealthResponse {
        xks_proxy_fleet_size: fleet_size,
        xks_proxy_vendor: VENDOR.into(),
        xks_proxy_model: MODEL.into(),
        ekm_vendor: vendor.unwrap_or_else(|| "unknown".to_owned()).into(),
        ekm_fleet_details: members.iter().map(detail).collect(),
    })
}

fn detail(member: &MemberHealth) -> EkmFleetDetail<'_> {
    EkmFleetDetail {
        id: member.id.as_str().into(),
        model: if member.model.is_empty() { "unknown".into() } else { member.model.as_str().into() },
        health_status: match member.state {
            HealthState::Active => HealthStatus::Active,
            HealthState::Degraded => HealthStatus::Degraded,
            HealthState::Unavailable => HealthStatus::Unavailable,
        },
    }
}
