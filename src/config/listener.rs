//! `[[listener]]`, checked.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::config::ClientAuth;
use crate::config::XksListener;
use crate::config::review::Review;
use crate::config::schema;

pub(super) fn listeners(
    review: &mut Review<'_>,
    raw: &[schema::Listener],
    admin: SocketAddr,
) -> Vec<XksListener> {
    review.require(!raw.is_empty(), "listener", "there must be at least one");
    let mut names = BTreeSet::new();
    let mut taken = vec![admin];
    let checked = raw.iter().enumerate().filter_map(|(index, raw)| {
        let table = review.named_table("listener", index, &raw.name);
        review.unique(&table, "name", &mut names, raw.name.as_str());
        let certificate_file = review.path(&table, "certificate_file", &raw.certificate_file);
        let private_key_file = review.path(&table, "private_key_file", &raw.private_key_file);
        let client_auth = raw.client_auth.as_ref().map(|raw| client_auth(review, &table, raw));
        let listen = review.socket_address(&table, "listen", &raw.listen)?;
        let is_free = !taken.iter().any(|&other| overlaps(listen, other));
        review.require(is_free, &table, "`listen` is already taken by another table");
        taken.push(listen);
        let name = raw.name.clone();
        Some(XksListener { name, listen, certificate_file, private_key_file, client_auth })
    });
    checked.collect()
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
