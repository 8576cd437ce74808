//! Takes a changed configuration up while requests go on: all of it, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::app::attestation::attestation_roots;
use crate::app::build::{App, load_tls};
use crate::app::declared_change::read_identities;
use crate::app::kms::{key_store_settings, load_proxy_trust};
use crate::config::{Config, Isolation};
use crate::identity::kms::Networks;
use crate::kill_switch::{Blockable, Whereabouts};

impl App {
    /// Reads the configuration and every file it names, and puts it in force if all of it is valid.
    pub(super) async fn reload(&self) -> Result<(), String> {
        let _one_at_a_time = self.reloading.lock().await;
        // Files are read and certificates checked: not on a thread that requests wait for.
        let result = tokio::task::block_in_place(|| self.try_reload());
        let (label, successful) = if result.is_ok() { ("taken", 1) } else { ("refused", 0) };
        self.metrics.config_reloads_total.with_label_values(&[label]).inc();
        self.metrics.config_last_reload_successful.set(successful);
        match &result {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(reason) => {
                tracing::error!(reason, "configuration refused, the old one stays in force: {reason}");
            }
        }
        result
    }

    fn try_reload(&self) -> Result<(), String> {
        let before = self.config.load_full();
        let config = Config::load(&before.path).map_err(|error| error.to_string())?;
        if let Some(what) = needs_restart(&before, &config) {
            return Err(format!("{what} cannot change while the daemon runs: restart it"));
        }
        // Everything that can fail comes before anything that has an effect.
        let tls = load_tls(&config, &self.clock)?;
        let key_stores = self.key_stores(&config)?;
        let identities = config.kms.as_ref().map(read_identities).transpose()?.flatten();
        let proxy_trust = load_proxy_trust(&config)?;
        let roots = config.kms.as_ref().map(attestation_roots).transpose()?.flatten();
        let networks = config.kms.as_ref().map(|kms| Networks::read(&kms.networks)).transpose()?;
        let mut pins = Vec::new();
        for hsm in &config.hsms {
            match hsm.isolation {
                Isolation::Process => hsm.pin_version().map(drop).map_err(|error| error.to_string())?,
                Isolation::Thread => {
                    let pin = hsm.read_pin().map_err(|error| error.to_string())?;
                    pins.extend(pin.map(|pin| (hsm.name.clone(), pin)));
                }
            }
        }
        let sinks = match (self.kms(), &config.kms, &before.kms) {
            (Some(face), Some(after), Some(before)) => face.audit.other_sinks(&after.audit, &before.audit)?,
            _ => None,
        };
        self.kill_switch.reload().map_err(|error| error.to_string())?;
        if let (Some(face), Some(kms), Some(networks)) = (self.kms(), &config.kms, networks) {
            // The record of it is on the disk first.
            Handle::current().block_on(face.declare(identities, kms, networks))?;
        }

        if let Some((face, trust)) = self.kms().zip(proxy_trust) {
            face.trust_proxies(trust);
        }
        if let Some((face, kms)) = self.kms().zip(config.kms.as_ref()) {
            face.kms.trust_attestations(roots);
            face.kms.set_key_store_settings(key_store_settings(&kms.external_key_stores));
            face.audit.reload(&kms.audit, sinks);
        }
        self.server.set_key_stores(key_stores);
        for (name, settings) in tls {
            if let Some(switch) = self.tls.get(&name) {
                switch.replace(settings);
            }
        }
        self.change_pins(pins);
        self.publish_configuration(&config);
        self.config.store(Arc::new(config));
        Ok(())
    }

    /// Logs in anew where the PIN is another than before.
    fn change_pins(&self, pins: Vec<(String, crate::secret::SecretBytes)>) {
        let mut known = self.pins.lock();
        for (name, pin) in pins {
            let is_new = known.get(&name) != Some(&pin);
            if let Some(hsm) = self.hsms.get(&name)
                && (is_new || hsm.take_pin_demand())
            {
                hsm.set_pin(&pin);
            }
            known.insert(name, pin);
        }
        // Worker processes read theirs.
        self.hsms.values().for_each(|hsm| hsm.pin_file_changed());
    }

    /// Takes the kill switch up.
    pub(super) fn reload_blocks(&self) -> Result<(), String> {
        self.kill_switch.reload().map_err(|error| error.to_string())?;
        self.publish_blocks(&self.config.load());
        let blocked = self.kill_switch.blocked();
        tracing::warn!(key_stores = ?blocked.key_stores, keys = ?blocked.keys, "kill switch changed");
        Ok(())
    }

    /// For whoever blocks without a configuration, or by an id that is mistyped.
    pub(super) fn find_blockable(&self, request: &str) -> Result<String, String> {
        let what: Blockable = serde_json::from_str(request).map_err(|error| error.to_string())?;
        let is_known = self.server.key_stores().values().any(|store| match &what {
            Blockable::Key(id) => store.key_store().has(id),
            Blockable::KeyStore(name) => &store.key_store().name == name,
        });
        let found = Whereabouts { state_dir: self.state_dir(), is_known };
        serde_json::to_string(&found).map_err(|error| error.to_string())
    }

    /// Reads the keys of every HSM; those of one although another has trouble.
    pub(super) async fn refresh_keys(&self) -> Result<String, String> {
        let mut refreshes = JoinSet::new();
        for hsm in self.hsms() {
            refreshes.spawn(async move {
                let reason = hsm.refresh().await.err()?.to_string();
                Some((hsm.name().to_string(), reason))
            });
        }
        let unread: BTreeMap<_, _> = refreshes.join_all().await.into_iter().flatten().collect();
        serde_json::to_string(&unread).map_err(|error| error.to_string())
    }
}

/// What is different and built into sockets, threads and sessions.
fn needs_restart(before: &Config, after: &Config) -> Option<&'static str> {
    let sockets = |config: &Config| -> Vec<_> {
        config
            .tls_listeners()
            .map(|listener| (listener.name.clone(), listener.listen, listener.client_auth.is_some()))
            .collect()
    };
    // What is looked up when it is needed may change.
    let built_in = |config: &Config| {
        let mut kms = config.kms.clone()?;
        kms.external_key_stores.forget_what_can_change();
        kms.audit.forget_what_can_change();
        kms.networks.clear();
        kms.attestation = None;
        Some(kms)
    };
    [
        ("`[admin]`", before.admin == after.admin),
        ("`[[cluster]]` and its trust anchor", before.clusters == after.clusters),
        ("`[[hsm]]`", before.hsms == after.hsms),
        ("`[health]`", before.health == after.health),
        ("`[limits]`", before.limits == after.limits),
        (
            "`[[listener]]` names, addresses and whether clients need a certificate",
            sockets(before) == sockets(after),
        ),
        (
            "`[kms]` but the files it names, `[kms.attestation]`, the quotas of key stores and what `[kms.audit]` \
             has besides `enabled` and `dir`",
            built_in(before) == built_in(after),
        ),
        ("`[dev]`", before.dev == after.dev),
        ("`[log]`", before.log == after.log),
        ("`state_dir`", before.state_dir == after.state_dir),
    ]
    .into_iter()
    .find_map(|(what, same)| (!same).then_some(what))
}
