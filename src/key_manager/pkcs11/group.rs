//! Several HSMs that hold the same keys: which one a request goes to.

use std::cmp::Reverse;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Clock;
use crate::config::Hedging;
use crate::domain::VersionMarker;
use crate::key_manager::external_key::{ExternalKey, KeyObject};
use crate::key_manager::pkcs11::at_once::gather;
use crate::key_manager::pkcs11::failover::{Candidate, Failover, Patience};
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::{
    Answer, Decrypt, Done, Encrypt, Encrypted, HsmError, KeyManager, Lookup, MemberHealth,
};
use crate::secret::SecretBytes;

/// The HSMs of a key store, at least one.
pub struct HsmGroup {
    members: Vec<Arc<Hsm>>,
    failover: Failover,
}

impl HsmGroup {
    /// Those of the key store of this name.
    pub fn new(key_store: &str, members: Vec<Arc<Hsm>>, hedging: &Hedging, clock: Arc<dyn Clock>) -> Self {
        let failover = Failover::new(&format!("xks/{key_store}"), hedging.share_max_percent, clock);
        Self { members, failover }
    }

    /// Those of a cluster, whose callers have more time than an HSM may take.
    pub(super) fn of_cluster(
        id: &str,
        members: Vec<Arc<Hsm>>,
        hedging: &Hedging,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let failover = Failover::new(&format!("cluster/{id}"), hedging.share_max_percent, clock);
        Self { members, failover: failover.with_patience(Patience::HangLimit) }
    }

    pub(super) fn failover(&self) -> &Failover {
        &self.failover
    }

    /// Members that hold this version of the key.
    fn holders<'a>(
        &'a self,
        key: &'a ExternalKey,
        marker: Option<VersionMarker>,
    ) -> impl Iterator<Item = (&'a Arc<Hsm>, Arc<KeyObject>)> {
        self.members.iter().filter_map(move |member| match member.find(key.id.as_str()) {
            Lookup::Found(key) => {
                let version = key.version(key.find_version(marker)?)?;
                Some((member, Arc::clone(&version.object)))
            }
            Lookup::Missing | Lookup::Ambiguous => None,
        })
    }

    async fn run(&self, candidates: Vec<Candidate<'_>>, deadline: Instant) -> Done<Output> {
        self.failover.run(candidates, HsmError::KeyMissing, deadline).await
    }
}

impl KeyManager for HsmGroup {
    fn find(&self, external_key_id: &str) -> Lookup {
        let mut ambiguous = false;
        let mut found: Option<Arc<ExternalKey>> = None;
        for member in &self.members {
            match member.find(external_key_id) {
                // A member that a rotation has not reached yet does not decide which version is the newest; and
                // what was disabled in one member is disabled.
                Lookup::Found(key) => {
                    let rank = |key: &ExternalKey| {
                        key.newest().map(|version| (version.marker, Reverse(version.enabled)))
                    };
                    if found.as_ref().is_none_or(|known| rank(known) < rank(&key)) {
                        found = Some(key);
                    }
                }
                Lookup::Ambiguous => ambiguous = true,
                Lookup::Missing => {}
            }
        }
        match found {
            _ if ambiguous => Lookup::Ambiguous,
            Some(key) => Lookup::Found(key),
            None => Lookup::Missing,
        }
    }

    fn find_again<'a>(
        &'a self,
        external_key_id: &'a str,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<Lookup, HsmError>> + Send + 'a>> {
        Box::pin(async move {
            // One member that looked is enough, since all hold the same keys; one that found it is enough at once,
            // however long another one takes.
            let searches = self.members.iter().map(|member| async {
                let search = tokio::time::timeout_at(deadline.into(), member.refresh_for_miss()?.wait());
                search.await.unwrap_or(Err(HsmError::DeadlineExceeded))
            });
            let is_found = |looked: &Result<(), HsmError>| {
                looked.is_ok() && matches!(self.find(external_key_id), Lookup::Found(_))
            };
            let searches = gather(searches, is_found).await;
            let looked = searches.into_iter().fold(Err(HsmError::KeyMissing), Result::or);
            match (self.find(external_key_id), looked) {
                (Lookup::Missing, Err(error)) => Err(error),
                (found, _) => Ok(found),
            }
        })
    }

    fn invocations(&self, key: &ExternalKey) -> u64 {
        let newest = key.newest();
        match *self.members {
            [_] => newest.map_or(0, |version| version.object.invocations()),
            _ => {
                let holders = self.holders(key, newest.and_then(|version| version.marker));
                holders.map(|(_, object)| object.invocations()).sum()
            }
        }
    }

    fn encrypt(&self, request: Encrypt, deadline: Instant) -> Answer<'_, Encrypted> {
        Box::pin(async move {
            let key = Arc::clone(&request.key);
            let request = Arc::new(request);
            let task = |object| Task::Encrypt { request: Arc::clone(&request), object };
            let holders = self.holders(&key, key.newest().and_then(|version| version.marker));
            let candidates = holders.map(|(member, object)| Candidate::new(member, task(object))).collect();
            self.run(candidates, deadline).await.and_then(Output::encrypted)
        })
    }

    fn decrypt(&self, request: Decrypt, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(async move {
            let key = Arc::clone(&request.key);
            let marker = key.version(request.version).and_then(|version| version.marker);
            let request = Arc::new(request);
            let task = |object| Task::Decrypt { request: Arc::clone(&request), object };
            let holders = self.holders(&key, marker);
            let candidates = holders.map(|(member, object)| Candidate::new(member, task(object))).collect();
            self.run(candidates, deadline).await.and_then(Output::decrypted)
        })
    }

    fn health(&self) -> Vec<MemberHealth> {
        self.members.iter().map(|member| member.health()).collect()
    }
}
