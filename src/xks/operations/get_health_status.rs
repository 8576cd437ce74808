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

    let members = key_store.health();
    let vendor = members.iter().map(|member| member.vendor.clone()).find(|vendor| !vendor.is_empty());
    let members = worst(members);
    to_json(&HealthResponse {
        xks_proxy_fleet_size: fleet_size,
        xks_proxy_vendor: VENDOR.into(),
        xks_proxy_model: MODEL.into(),
        ekm_vendor: vendor.unwrap_or_else(|| "unknown".to_owned()).into(),
        ekm_fleet_details: members.iter().map(detail).collect(),
    })
}

/// At most ten fit (XKS v1, GetHealthStatus): the worst, which are the ones to look at.
fn worst(mut members: Vec<MemberHealth>) -> Vec<MemberHealth> {
    members.sort_by(|a, b| (a.state, &a.id).cmp(&(b.state, &b.id)));
    members.truncate(EKM_FLEET_DETAILS_MAX);
    members
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

#[cfg(test)]
mod tests {
    use super::worst;
    use crate::key_manager::{HealthState, MemberHealth};

    #[test]
    fn of_more_than_ten_hsms_the_ten_worst_are_told_in_an_order_that_stays() {
        let member = |number: usize| MemberHealth {
            id: format!("hsm-{number:02}"),
            vendor: String::new(),
            model: String::new(),
            state: match number {
                3 | 11 => HealthState::Unavailable,
                7 => HealthState::Degraded,
                _ => HealthState::Active,
            },
            reason: None,
        };
        let ids = |members: Vec<usize>| -> Vec<String> {
            worst(members.into_iter().map(member).collect()).into_iter().map(|member| member.id).collect()
        };
        let expected: Vec<_> =
            [3, 11, 7, 0, 1, 2, 4, 5, 6, 8].map(|number: usize| format!("hsm-{number:02}")).to_vec();
        assert_eq!(ids((0..12).collect()), expected);
        assert_eq!(ids((0..12).rev().collect()), expected);
    }
}
