//! `[[listener]]` and `[[kms.listener]]`, checked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::config::Admin;
use crate::config::ClientAuth;
use crate::config::HttpListener;
use crate::config::Network;
use crate::config::TlsListener;
use crate::config::network::network;
use crate::config::review::Review;
use crate::config::schema;

/// The sockets and names that are taken already.
pub(super) struct Sockets {
    addresses: Vec<SocketAddr>,
    names: BTreeSet<String>,
}

impl Sockets {
    pub(super) fn taken_by(admin: &Admin) -> Self {
        Self {
            addresses: [admin.listen]
                .into_iter()
                .chain(admin.probe_listen)
                .chain(admin.metrics_listen)
                .collect(),
            names: BTreeSet::new(),
        }
    }

    fn take(&mut self, review: &mut Review<'_>, table: &str, listen: &str) -> Option<SocketAddr> {
        let listen = review.socket_address(table, "listen", listen)?;
        let is_free = !self.addresses.iter().any(|&other| overlaps(listen, other));
        review.require(is_free, table, "`listen` is already taken by another table");
        self.addresses.push(listen);
        Some(listen)
    }
}

pub(super) fn listeners(
    review: &mut Review<'_>,
    raw: &[schema::Listener],
    sockets: &mut Sockets,
) -> Vec<TlsListener> {
    let checked = raw.iter().enumerate().filter_map(|(index, raw)| {
        let table = review.named_table("listener", index, &raw.name);
        review.unique(&table, "name", &mut sockets.names, raw.name.clone());
        let certificate_file = review.path(&table, "certificate_file", &raw.certificate_file);
        let private_key_file = review.path(&table, "private_key_file", &raw.private_key_file);
        let client_auth = raw.client_auth.as_ref().map(|raw| client_auth(review, &table, raw));
        let listen = sockets.take(review, &table, &raw.listen)?;
        let name = raw.name.clone();
        Some(TlsListener { name, listen, certificate_file, private_key_file, client_auth })
    });
    checked.collect()
}

/// Those with a certificate, those without, and from where the requests of each come, by its name.
pub(super) fn kms_listeners(
    review: &mut Review<'_>,
    raw: &[schema::KmsListener],
    sockets: &mut Sockets,
) -> (Vec<TlsListener>, Vec<HttpListener>, BTreeMap<String, Network>) {
    let (mut tls, mut http, mut networks) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (index, raw) in raw.iter().enumerate() {
        let table = review.named_table("kms.listener", index, &raw.name);
        review.unique(&table, "name", &mut sockets.names, raw.name.clone());
        networks.insert(raw.name.clone(), network(review, &table, raw));
        let Some(listen) = sockets.take(review, &table, &raw.listen) else { continue };
        let name = raw.name.clone();
        match (&raw.certificate_file, &raw.private_key_file) {
            (Some(certificate_file), Some(private_key_file)) => tls.push(TlsListener {
                name,
                listen,
                certificate_file: review.path(&table, "certificate_file", certificate_file),
                private_key_file: review.path(&table, "private_key_file", private_key_file),
                client_auth: raw.client_auth.as_ref().map(|raw| client_auth(review, &table, raw)),
            }),
            (None, None) => {
                let reason =
                    "without a certificate, `listen` must be a loopback address: plaintext goes over it";
                review.require(listen.ip().is_loopback(), &table, reason);
                let reason = "without a certificate there are no client certificates";
                review.require(raw.client_auth.is_none(), &table, reason);
                http.push(HttpListener { name, listen });
            }
            (Some(_), None) | (None, Some(_)) => {
                review.refuse(&table, "`certificate_file` and `private_key_file` go together");
            }
        }
    }
    (tls, http, networks)
}

fn client_auth(review: &mut Review<'_>, listener: &str, raw: &schema::ClientAuth) -> ClientAuth {
    let table = format!("{listener} client_auth");
    let ca_file = review.path(&table, "ca_file", &raw.ca_file);
    let is_named = !raw.subjects.is_empty() && raw.subjects.iter().all(|subject| !subject.is_empty());
    review.require(is_named, &table, "`subjects` must be a list of one or more names");
    ClientAuth { ca_file, subjects: raw.subjects.clone() }
}

/// Whether the second of two sockets could not be bound. Port 0 is a new port each time.
fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_ip
}
