//! Root keys made, looked for and destroyed in the HSMs behind the KMS API.

use std::sync::Arc;
use std::time::Instant;

use crate::key_manager::backing_key::{
    Asked, Proven, ProvenRootKey, RootKeyAdmin, RootKeyId, RootKeyProof, RootKeys,
};
use crate::key_manager::pkcs11::at_once::gather;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::failover::refused;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::worker::Output;
use crate::key_manager::pkcs11::wrapped_key_group::WrappedKeyGroup;
use crate::key_manager::{Answer, HsmError};

impl WrappedKeyGroup {
    /// What each member says to a task, all at once.
    async fn ask_each<T>(
        &self,
        task: BackingTask,
        answer: fn(Output) -> Result<T, HsmError>,
        deadline: Instant,
    ) -> Vec<(String, Result<T, HsmError>)> {
        let ask = |member: &Arc<Hsm>| {
            let (member, task) = (Arc::clone(member), task.clone());
            async move {
                let done = self.run_at(&member, task, deadline).await.and_then(answer);
                (member.name().to_string(), done.result)
            }
        };
        gather(self.members.iter().map(ask), |_| false).await
    }
}

impl RootKeyAdmin for WrappedKeyGroup {
    fn use_root_keys(&self, keys: RootKeys) {
        self.members.iter().for_each(|member| member.engine().want_root_keys(keys));
    }

    fn make_root_key(&self, deadline: Instant) -> Answer<'_, RootKeyId> {
        Box::pin(async move {
            let Some(member) = self.members.first() else {
                return refused(HsmError::Unavailable("there is no HSM".to_owned()));
            };
            let done = self.run_at(member, BackingTask::OpenRootKey(None), deadline).await;
            done.and_then(Output::root_key)
        })
    }

    fn open_root_keys(&self, keys: RootKeys, deadline: Instant) -> Answer<'_, RootKeyId> {
        self.use_root_keys(keys);
        Box::pin(async move { self.find_root_key(keys.current, deadline).await.and_then(Output::root_key) })
    }

    /// One after the other: each opens what the first has made.
    fn prove_root_key(&self, proof: RootKeyProof, deadline: Instant) -> Proven<'_> {
        Box::pin(async move {
            let mut proof = proof;
            let mut members = Vec::new();
            for member in &self.members {
                let task = BackingTask::ProveRootKey(Arc::new(proof.clone()));
                let done = self.run_at(member, task, deadline).await.and_then(Output::witness);
                let result = done.result.map(|witness| {
                    proof.witness.get_or_insert(witness);
                });
                members.push((member.name().to_string(), result));
            }
            let is_everywhere = members.iter().all(|(_, result)| result.is_ok());
            let sealed = proof.witness.map(|witness| witness.sealed).filter(|_| is_everywhere);
            ProvenRootKey { members, sealed }
        })
    }

    fn list_root_keys(&self, deadline: Instant) -> Asked<'_, Vec<RootKeyId>> {
        Box::pin(self.ask_each(BackingTask::ListRootKeys, Output::root_keys, deadline))
    }

    fn destroy_root_key(&self, id: RootKeyId, deadline: Instant) -> Asked<'_, ()> {
        Box::pin(self.ask_each(BackingTask::DestroyRootKey(id), Output::destroyed, deadline))
    }
}
