//! `[[cluster]]`, checked.

use std::collections::BTreeSet;

use crate::config::Cluster;
use crate::config::Hsm;
use crate::config::hsm;
use crate::config::hsm::Declared;
use crate::config::review::Review;
use crate::config::schema;

/// `CloudHsmClusterIdType` of the service model: `cluster-[2-7a-zA-Z]{11,16}`. No request can name another.
const ID_PREFIX: &str = "cluster-";
const ID_CHARS: std::ops::RangeInclusive<usize> = 11..=16;

/// A key exists when two HSMs have it.
const MEMBERS_MIN: usize = 2;

pub(super) fn clusters(
    review: &mut Review<'_>,
    raw: Vec<schema::Cluster>,
    hsms: &[Hsm],
    declared: &mut Declared,
) -> Vec<Cluster> {
    let mut ids = BTreeSet::new();
    let mut checked: Vec<Cluster> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let table = if is_id(&raw.id) {
            format!("cluster `{}`", raw.id)
        } else {
            let table = format!("cluster {}", index + 1);
            review.refuse(&table, "`id` must be `cluster-` and 11 to 16 letters and digits from 2 to 7");
            table
        };
        review.unique(&table, "id", &mut ids, raw.id.clone());
        let is_user =
            |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let reason = "`crypto_user` must be letters and digits";
        review.require(raw.crypto_user.as_ref().is_none_or(is_user), &table, reason);
        let enough = raw.member.len() >= MEMBERS_MIN;
        review.require(
            enough,
            &table,
            format_args!("there must be at least {MEMBERS_MIN} `[[cluster.member]]`"),
        );
        let mut members: Vec<Hsm> = Vec::new();
        for (index, member) in raw.member.into_iter().enumerate() {
            let table = review.named_table("cluster.member", index, &member.name);
            let member = hsm::token(review, &table, &raw.module, member, declared);
            check_token(review, &table, &member, &members);
            let others = hsms.iter().chain(checked.iter().flat_map(|cluster| &cluster.members));
            for other in others.filter(|other| hsm::same_token(other, &member)) {
                review.refuse(&table, format_args!("this is the token of `{}`", other.name));
            }
            members.push(member);
        }
        checked.push(Cluster {
            id: raw.id,
            trust_anchor_file: review.path(&table, "trust_anchor_file", &raw.trust_anchor_file),
            trust_anchor: String::new(),
            crypto_user: raw.crypto_user,
            members,
        });
    }
    checked
}

/// For a trial, one token of SoftHSM can stand for two; elsewhere both would fail together.
fn check_token(review: &mut Review<'_>, table: &str, member: &Hsm, members: &[Hsm]) {
    let twin = members.iter().find(|other| hsm::same_token(other, member));
    if let Some(twin) = twin.filter(|_| !hsm::is_softhsm(&member.module)) {
        review
            .refuse(table, format_args!("this is the token of `{}`, so they would fail together", twin.name));
    }
}

fn is_id(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'2'..=b'7');
    text.strip_prefix(ID_PREFIX).is_some_and(|id| ID_CHARS.contains(&id.len()) && id.bytes().all(is_legal))
}
