//! Several HSMs that hold the same keys: which one a request goes to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::domain::VersionMarker;
use crate::key_manager::external_key::{ExternalKey, KeyObject};
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::{
    Answer, Decrypt, Done, Encrypt, Encrypted, HsmError, KeyManager, Lookup, MemberHealth,
};
use crate::secret::SecretBytes;

/// The HSMs of a key store, at least one.
pub struct HsmGroup {
    members: Vec<Arc<Hsm>>,
    clock: Arc<dyn Clock>,
}

impl HsmGroup {
    pub fn new(members: Vec<Arc<Hsm>>, clock: Arc<dyn Clock>) -> Self {
        Self { members, clock }
    }

    /// Members that hold this version of the key, the healthiest and least loaded first.
    fn candidates(
        &self,
        key: &ExternalKey,
        marker: Option<VersionMarker>,
    ) -> Vec<(&Arc<Hsm>, Arc<KeyObject>)> {
        let mut found: Vec<_> = self
            .members
            .iter()
            .filter_map(|member| match member.find(key.id.as_str()) {
                Lookup::Found(key) => {
                    let version = key.version(key.find_version(marker)?)?;
                    Some((member, Arc::clone(&version.object)))
                }
                Lookup::Missing | Lookup::Ambiguous => None,
            })
            .collect();
        if found.len() > 1 {
            found.sort_by_cached_key(|(member, _)| {
                (std::cmp::Reverse(member.health().state), member.queue_length())
            });
        }
        found
    }

    /// Tries the candidates in turn for as long as the deadline allows; a fault of one member, not of the
    /// request, moves on to the next.
    async fn run(
        &self,
        candidates: Vec<(&Arc<Hsm>, Arc<KeyObject>)>,
        task: impl Fn() -> Task,
        deadline: Instant,
    ) -> Done<Output> {
        let mut done = Done {
            result: Err(HsmError::KeyMissing),
            hsm: None,
            queue_wait: Duration::ZERO,
            hsm_time: Duration::ZERO,
        };
        for (member, object) in candidates {
            let outcome = member.run(task(), object, deadline).await;
            let (Ok((_, queue_wait, hsm_time)) | Err((_, queue_wait, hsm_time))) = &outcome;
            done.queue_wait += *queue_wait;
            done.hsm_time += *hsm_time;
            done.hsm = Some(Arc::clone(member.name()));
            done.result = outcome.map(|(output, ..)| output).map_err(|(error, ..)| error);
            match &done.result {
                Err(
                    HsmError::Busy | HsmError::Device(_) | HsmError::KeyMissing | HsmError::Unavailable(_),
                ) if self.clock.instant() < deadline => {}
                _ => break,
            }
        }
        done
    }
}

impl KeyManager for HsmGroup {
    fn find(&self, external_key_id: &str) -> Lookup {
        let mut ambiguous = false;
        let mut found: Option<Arc<ExternalKey>> = None;
        for member in &self.members {
            match member.find(external_key_id) {
                // A member that a rotation has not reached yet does not decide which version is the newest.
                Lookup::Found(key) => {
                    let newest = |key: &Arc<ExternalKey>| key.newest().and_then(|version| version.marker);
                    if found.as_ref().is_none_or(|known| newest(known) < newest(&key)) {
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
            let searches: Vec<_> = self.members.iter().map(|member| member.refresh_for_miss()).collect();
            // One member that looked is enough, since all hold the same keys.
            let mut looked = Err(HsmError::KeyMissing);
            for search in searches {
                let result = match search {
                    Ok(search) => tokio::time::timeout_at(deadline.into(), search.wait())
                        .await
                        .unwrap_or(Err(HsmError::DeadlineExceeded)),
                    Err(error) => Err(error),
                };
                looked = looked.or(result);
            }
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
                let candidates = self.candidates(key, newest.and_then(|version| version.marker));
                candidates.iter().map(|(_, object)| object.invocations()).sum()
            }
        }
    }

    fn encrypt(&self, request: Encrypt, deadline: Instant) -> Answer<'_, Encrypted> {
        Box::pin(async move {
            let marker = request.key.newest().and_then(|version| version.marker);
            let candidates = self.candidates(&request.key, marker);
            let request = Arc::new(request);
            let done = self.run(candidates, || Task::Encrypt(Arc::clone(&request)), deadline).await;
            done.and_then(|output| match output {
                Output::Encrypted(encrypted) => Ok(encrypted),
                Output::Decrypted(_) => Err(mixed_up()),
            })
        })
    }

    fn decrypt(&self, request: Decrypt, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(async move {
            let marker = request.key.version(request.version).and_then(|version| version.marker);
            let candidates = self.candidates(&request.key, marker);
            let request = Arc::new(request);
            let done = self.run(candidates, || Task::Decrypt(Arc::clone(&request)), deadline).await;
            done.and_then(|output| match output {
                Output::Decrypted(plaintext) => Ok(plaintext),
                Output::Encrypted(_) => Err(mixed_up()),
            })
        })
    }

    fn health(&self) -> Vec<MemberHealth> {
        self.members.iter().map(|member| member.health()).collect()
    }
}

impl<T> Done<T> {
    fn and_then<U>(self, convert: impl FnOnce(T) -> Result<U, HsmError>) -> Done<U> {
        Done {
            result: self.result.and_then(convert),
            hsm: self.hsm,
            queue_wait: self.queue_wait,
            hsm_time: self.hsm_time,
        }
    }
}

fn mixed_up() -> HsmError {
    HsmError::Device("a worker answered another question than was asked".to_owned())
}
