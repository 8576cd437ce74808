//! Keys of a cluster: made in one HSM, and there when another one shows them too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::ExternalKeyId;
use crate::key_manager::cluster::{ClusterError, ClusterKey};
use crate::key_manager::external_key::ExternalKey;
use crate::key_manager::pkcs11::at_once::gather;
use crate::key_manager::pkcs11::cluster::HsmCluster;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::{HsmError, KeyManager, Lookup};

/// A key is in one HSM and in a second, or it is lost with the first.
const COPIES_MIN: usize = 2;
/// For HSMs to look for one key. What a slower one finds is known to the next request.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two looks for a copy of a new key.
const COPY_INTERVAL: Duration = Duration::from_millis(50);
/// For the end of a key that was not copied.
const DESTRUCTION_TIME: Duration = Duration::from_secs(1);

/// A key that only one HSM has so far, destroyed unless it is said to be there to stay.
struct Uncopied<'a> {
    member: &'a Arc<Hsm>,
    label: Option<ExternalKeyId>,
}

impl Uncopied<'_> {
    fn keep(mut self) {
        self.label = None;
    }

    async fn destroy(mut self, deadline: Instant) {
        if let Some(label) = self.label.take() {
            let order = self.member.order(|reply| Order::DestroyKey { label, reply });
            if let Err(error) = order.answer(deadline).await {
                let hsm = self.member.name();
                tracing::warn!(%hsm, reason = %error, "a key that was not copied may still be in {hsm}: {error}");
            }
        }
    }
}

impl Drop for Uncopied<'_> {
    fn drop(&mut self) {
        if let Some(label) = self.label.take() {
            drop(self.member.order(|reply| Order::DestroyKey { label, reply }));
        }
    }
}

pub(super) async fn create(
    cluster: &HsmCluster,
    label: &str,
    deadline: Instant,
) -> Result<ClusterKey, ClusterError> {
    let label = parse(label)?;
    let members = cluster.in_service();
    let (first, others) = match members.split_first() {
        Some((first, others)) if members.len() >= COPIES_MIN => (*first, others),
        Some(_) | None => return Err(cluster.too_few(members.len())),
    };
    let id = label.clone();
    let order = first.order(|reply| Order::MakeKey { label: id, deadline, reply });
    let key = order.answer(deadline).await?;
    let uncopied = Uncopied { member: first, label: Some(label.clone()) };
    let left = deadline.saturating_duration_since(cluster.clock.instant());
    let copied_by = deadline - DESTRUCTION_TIME.min(left / 4);
    loop {
        let seen = look(cluster, others, &label, copied_by).await;
        if seen.is_ok_and(|members| members > 0) {
            uncopied.keep();
            return Ok(key);
        }
        let now = cluster.clock.instant();
        if now + COPY_INTERVAL >= copied_by {
            uncopied.destroy(deadline).await;
            return Err(ClusterError::TooFewHsms { active: 1 });
        }
        tokio::time::sleep(COPY_INTERVAL).await;
    }
}

pub(super) async fn destroy(
    cluster: &HsmCluster,
    label: &str,
    deadline: Instant,
) -> Result<Option<ClusterKey>, ClusterError> {
    let label = parse(label)?;
    let members = cluster.in_service();
    let mut result = Err(cluster.too_few(0));
    for (place, member) in members.iter().enumerate() {
        let id = label.clone();
        let order = member.order(|reply| Order::DestroyKey { label: id, reply });
        match order.answer(deadline).await {
            Ok(Some(key)) => {
                let others: Vec<_> =
                    members.iter().filter(|other| !Arc::ptr_eq(other, member)).copied().collect();
                // Their inventories; who does not answer learns it when the key is used.
                let _ = look(cluster, &others, &label, deadline).await;
                return Ok(Some(key));
            }
            Ok(None) if place == 0 => result = Ok(None),
            Ok(None) => {}
            Err(error) => result = Err(error),
        }
    }
    result
}

pub(super) async fn list(cluster: &HsmCluster, deadline: Instant) -> Result<Vec<ClusterKey>, ClusterError> {
    let mut result = Err(cluster.too_few(0));
    for member in cluster.in_service() {
        result = member.order(Order::ListKeys).answer(deadline).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The key as it is known, else as it is found: another node may have made it.
pub(super) async fn find(
    cluster: &HsmCluster,
    label: &str,
    deadline: Instant,
) -> Result<Arc<ExternalKey>, HsmError> {
    if let Lookup::Found(key) = cluster.group.find(label) {
        return Ok(key);
    }
    let id = parse(label).map_err(|_| HsmError::KeyMissing)?;
    let members = cluster.in_service();
    if members.is_empty() {
        return Err(cause(cluster.too_few(0)));
    }
    let search = async {
        let by = cluster.clock.instant() + SEARCH_TIMEOUT;
        look(cluster, &members, &id, by).await.map(drop).map_err(cause)
    };
    cluster.searches.join(&id, search, deadline).await?;
    match cluster.group.find(label) {
        Lookup::Found(key) => Ok(key),
        Lookup::Missing => Err(HsmError::KeyMissing),
        Lookup::Ambiguous => Err(HsmError::Device("several keys of the cluster have this label".to_owned())),
    }
}

/// Has these members take up whether they have the key: how many do, as far as that is known once one does. An error
/// if nobody could look.
async fn look(
    cluster: &HsmCluster,
    members: &[&Arc<Hsm>],
    label: &ExternalKeyId,
    deadline: Instant,
) -> Result<usize, ClusterError> {
    let deadline = deadline.min(cluster.clock.instant() + SEARCH_TIMEOUT);
    let order = |member: &&Arc<Hsm>| member.order(|reply| Order::ReadKey { label: label.clone(), reply });
    let orders: Vec<_> = members.iter().map(order).collect();
    let answers = orders.into_iter().map(|order| order.answer(deadline));
    let answers = gather(answers, |answer| *answer == Ok(true)).await;
    let (mut result, mut seen) = (Err(cluster.too_few(0)), 0);
    for answer in answers {
        match answer {
            Ok(is_there) => {
                seen += usize::from(is_there);
                result = Ok(seen);
            }
            Err(error) => result = result.or(Err(error)),
        }
    }
    result
}

fn cause(error: ClusterError) -> HsmError {
    match error {
        ClusterError::Hsm(cause) => cause,
        ClusterError::InvalidCredentials
        | ClusterError::NotLoggedIn
        | ClusterError::TooFewHsms { .. }
        | ClusterError::UserLockedOut
        | ClusterError::UserLoggedIn
        | ClusterError::UserNotFound => HsmError::Unavailable(error.to_string()),
    }
}

fn parse(label: &str) -> Result<ExternalKeyId, ClusterError> {
    ExternalKeyId::parse(label)
        .map_err(|_| HsmError::Device("this label cannot be that of a key".to_owned()).into())
}
