//! Custom key stores, clusters and KMS keys.

use crate::admin::control::{self, Asked, Topic};
use crate::config::{Cluster, Config, LoadBalancer, VpcEndpointService};
use crate::doctor::Patient;
use crate::doctor::certificates;
use crate::doctor::diagnoses::kms as diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::gate::kms::ClusterFindings;
use crate::store::sqlite::{self, CustomKeyStoreFacts, DatabaseFacts};

/// Connection error code, what it means, what to do.
pub static CONNECTION_ERRORS: [(&str, &str, &str); 16] = [
    (
        "CLUSTER_NOT_FOUND",
        "no `[[cluster]]` has this id",
        "correct CloudHsmClusterId, or add the cluster to the configuration",
    ),
    ("INSUFFICIENT_CLOUDHSM_HSMS", "no member of the cluster is active", "repair or add a member"),
    ("INTERNAL_ERROR", "something inside failed", "look at the log, then connect again"),
    (
        "INVALID_CREDENTIALS",
        "the password of `kmsuser` is wrong",
        "find or set it in the cluster, UpdateCustomKeyStore with KeyStorePassword",
    ),
    ("NETWORK_ERRORS", "the cluster was not reached", "wait a few minutes and look at the link to the HSMs"),
    (
        "USER_LOCKED_OUT",
        "`kmsuser` is locked after wrong passwords",
        "change its password in the cluster, UpdateCustomKeyStore with KeyStorePassword",
    ),
    (
        "USER_LOGGED_IN",
        "`kmsuser` is logged in elsewhere",
        "log it out; if its password was changed, update KeyStorePassword",
    ),
    (
        "USER_NOT_FOUND",
        "the cluster has no crypto user `kmsuser`",
        "make it, UpdateCustomKeyStore with KeyStorePassword",
    ),
    (
        "XKS_PROXY_ACCESS_DENIED",
        "the proxy refuses the credential",
        "UpdateCustomKeyStore with the credential that the proxy has; look at the clocks",
    ),
    ("XKS_PROXY_INVALID_CONFIGURATION", "the proxy does not know the path", "correct XksProxyUriPath"),
    (
        "XKS_PROXY_INVALID_RESPONSE",
        "the proxy answers something else than the XKS API",
        "`holdfast check` says what; ask its maker",
    ),
    (
        "XKS_PROXY_INVALID_TLS_CONFIGURATION",
        "TLS failed: name, date, chain or authority",
        "`holdfast doctor --only certificates --endpoint URL` at the proxy",
    ),
    (
        "XKS_PROXY_NOT_REACHABLE",
        "no connection, or every key manager is unavailable",
        "start the proxy and its HSMs, open port 443, correct the endpoint",
    ),
    (
        "XKS_PROXY_TIMED_OUT",
        "no answer within 250 ms",
        "`holdfast doctor --endpoint URL` shows in which phase the time goes",
    ),
    (
        "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION",
        "the VPC endpoint service is not as demanded",
        "see kms-vpc-endpoint-service",
    ),
    (
        "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND",
        "there is no VPC endpoint service of this name",
        "correct the name; the Region is part of it",
    ),
];

pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    let Some(kms) = &config.kms else {
        return findings.all_unchecked(diagnosis::ALL, "-", "the configuration has no `[kms]`");
    };
    match sqlite::examine(&config.state_dir) {
        Ok(Some(facts)) => judge_database(&facts, findings),
        Ok(None) => findings.all_unchecked(
            &[&diagnosis::CONNECTION, &diagnosis::KEY_STATES, &diagnosis::ALONE],
            "database",
            "there is none yet",
        ),
        Err(error) => findings.all_unchecked(
            &[&diagnosis::CONNECTION, &diagnosis::KEY_STATES, &diagnosis::ALONE],
            "database",
            &error.to_string(),
        ),
    }
    for service in &kms.external_key_stores.vpc_endpoint_services {
        let reasons = judge_service(service);
        let bad = (!reasons.is_empty()).then(|| (Verdict::Error, reasons.join("; ")));
        findings.judge(&diagnosis::VPC, service.name.clone(), (bad, "as demanded"));
    }
    for cluster in &config.clusters {
        examine_cluster(patient, cluster, findings);
    }
    if !config.clusters.is_empty() {
        examine_orphans(config, findings);
    }
}

pub(super) fn judge_database(facts: &DatabaseFacts, findings: &mut Findings) {
    for store in &facts.custom_key_stores {
        let CustomKeyStoreFacts { id, name, connection_state, connection_error, .. } = store;
        let looked_at = format!("{id} ({name})");
        let bad = match (connection_state.as_str(), connection_error) {
            ("CONNECTED", _) => None,
            (state, Some(code)) => Some((Verdict::Error, format!("{state}, {}", explained(code)))),
            (state, None) => Some((Verdict::Warning, state.to_owned())),
        };
        findings.judge(&diagnosis::CONNECTION, looked_at, (bad, "CONNECTED"));
    }
    if facts.custom_key_stores.is_empty() {
        findings.unchecked(&diagnosis::CONNECTION, "-", "there is no custom key store");
    }
    let mut clusters: Vec<_> =
        facts.custom_key_stores.iter().filter_map(|store| store.cluster_id.as_deref()).collect();
    clusters.sort_unstable();
    let twice = clusters.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some((Verdict::Error, format!("{one} is of several key stores"))),
        _ => None,
    });
    findings.judge(&diagnosis::ALONE, "database", (twice, "each cluster is of one"));
    let seen: Vec<_> = facts.keys_by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let is_idle = facts.keys_by_state.iter().any(|(state, _)| state != "Enabled");
    let seen = if seen.is_empty() { "there is no KMS key".to_owned() } else { seen.join(", ") };
    let bad = is_idle.then(|| (Verdict::Warning, seen.clone()));
    findings.judge(&diagnosis::KEY_STATES, "database", (bad, seen));
}

pub(super) fn explained(code: &str) -> String {
    match CONNECTION_ERRORS.iter().find(|(known, ..)| *known == code) {
        Some((_, meaning, fix)) => format!("{code}: {meaning}; {fix}"),
        None => code.to_owned(),
    }
}

pub(super) fn judge_service(service: &VpcEndpointService) -> Vec<&'static str> {
    let VpcEndpointService {
        acceptance_required, availability_zones, load_balancer, allowed_principals, ..
    } = service;
    let is_kms = |principal: &String| principal == "*" || principal.contains("cks.kms.");
    let reasons = [
        (*availability_zones < 2, "fewer than two Availability Zones"),
        (*load_balancer == LoadBalancer::Gateway, "a gateway instead of a network load balancer"),
        (*acceptance_required, "acceptance is required"),
        (!service.private_dns_verified, "the private DNS name is not verified"),
        (!allowed_principals.iter().any(is_kms), "AWS KMS is no allowed principal"),
    ];
    reasons.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason).collect()
}

fn examine_cluster(patient: &Patient<'_>, cluster: &Cluster, findings: &mut Findings) {
    let looked_at = cluster.id.clone();
    match certificates::read_chain(&cluster.trust_anchor_file) {
        Ok(chain) => {
            let bad = certificates::judge_dates(&chain, patient.now());
            findings.judge(&diagnosis::ANCHOR, &looked_at, (bad, "in its time"));
        }
        Err(reason) => findings.error(&diagnosis::ANCHOR, &looked_at, reason),
    }
    let Some(samples) = &patient.samples else {
        return findings.unchecked(&diagnosis::MEMBERS, looked_at, "no daemon answers");
    };
    let serves = |name: &str| {
        samples.named("holdfast_hsm_state").any(|sample| {
            sample.label("hsm") == name && sample.value >= 1.0 && sample.label("state") != "UNAVAILABLE"
        })
    };
    let active = cluster.members.iter().filter(|member| serves(&member.name)).count();
    let seen = format!("{active} of {} members serve", cluster.members.len());
    let bad = match active {
        0 => Some((Verdict::Warning, format!("{seen}: its key store is not connected, or all are gone"))),
        1 => Some((Verdict::Warning, format!("{seen}: no key can be made"))),
        _ => None,
    };
    findings.judge(&diagnosis::MEMBERS, looked_at, (bad, seen));
}

fn examine_orphans(config: &Config, findings: &mut Findings) {
    let text = match control::ask(&config.admin.control_socket, Topic::Clusters, "{}") {
        Ok(Asked::Answered(text)) => text,
        Ok(Asked::NotRunning) => {
            return findings.unchecked(&diagnosis::ORPHANS, "clusters", "no daemon runs");
        }
        Ok(Asked::Refused(reason)) => return findings.unchecked(&diagnosis::ORPHANS, "clusters", reason),
        Err(error) => return findings.unchecked(&diagnosis::ORPHANS, "clusters", error.to_string()),
    };
    for found in serde_json::from_str::<Vec<ClusterFindings>>(&text).unwrap_or_default() {
        let looked_at = format!("{} ({})", found.custom_key_store_id, found.custom_key_store_name);
        if let Some(failure) = found.failure {
            findings.unchecked(&diagnosis::ORPHANS, looked_at, failure);
            continue;
        }
        let (orphans, missing) = (found.orphans.len(), found.missing.len());
        let seen = format!("{orphans} objects without a key, {missing} keys without an object");
        let bad = if missing > 0 {
            Some((Verdict::Error, seen.clone()))
        } else {
            (orphans > 0).then(|| (Verdict::Warning, seen.clone()))
        };
        findings.judge(&diagnosis::ORPHANS, looked_at, (bad, seen));
    }
}
