//! The index agrees with a list that is read from end to end.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{GrantIndex, GrantQuestion, GrantRequester, GrantedTo, RequesterName};
use crate::domain::kms::{
    AccountId, EncryptionContext, Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal, KeyId,
    Region, Scope, UnixMillis,
};

const ACCOUNT: &str = "123456789012";
const ALICE: &str = "arn:aws:iam::123456789012:user/alice";
const ROLE: &str = "arn:aws:iam::123456789012:role/work";
const ROOT: &str = "arn:aws:iam::123456789012:root";
const SERVICE: &str = "s3.amazonaws.com";
const SOURCES: [&str; 2] = ["arn:aws:s3:us-east-1:123456789012:a", "arn:aws:s3:us-east-1:123456789012:b"];
const OPERATIONS: [GrantOperation; 6] = [
    GrantOperation::CreateGrant,
    GrantOperation::Decrypt,
    GrantOperation::DescribeKey,
    GrantOperation::Encrypt,
    GrantOperation::GenerateMac,
    GrantOperation::RetireGrant,
];

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn grant(id: usize, grantee: GrantPrincipal, operations: &[GrantOperation]) -> Grant {
    Grant {
        scope: Scope {
            account: AccountId::parse(ACCOUNT).unwrap(),
            region: Region::parse("us-east-1").unwrap(),
        },
        key_id: KeyId::parse("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap(),
        id: GrantId(format!("{id:064x}")),
        name: None,
        created: UnixMillis(0),
        issuing_account: ROOT.to_owned(),
        grantee,
        retiring: None,
        operations: operations.to_vec(),
        constraints: GrantConstraints::default(),
    }
}

/// The rules, word by word.
fn permits_naively(grant: &Grant, question: &GrantQuestion<'_>) -> bool {
    let constraints = &grant.constraints;
    let minds_context = question.operation.takes_encryption_context();
    let equals = constraints.context_equals.as_ref();
    let subset = constraints.context_subset.as_ref();
    question.operation != GrantOperation::RetireGrant
        && grant.operations.contains(&question.operation)
        && constraints.source_arn.as_deref().is_none_or(|source| Some(source) == question.source_arn)
        && (!minds_context || equals.is_none_or(|equals| equals == question.encryption_context))
        && (!minds_context || subset.is_none_or(|subset| question.encryption_context.includes(subset)))
}

fn covers_naively(parent: &Grant, child: &Grant) -> bool {
    let (strict, loose) = (&child.constraints, &parent.constraints);
    // An empty subset demands nothing.
    let given = |context: &EncryptionContext| {
        context.is_empty()
            || [&strict.context_equals, &strict.context_subset]
                .into_iter()
                .flatten()
                .any(|other| other.includes(context))
    };
    let is_never =
        |constraints: &GrantConstraints| match (&constraints.context_equals, &constraints.context_subset) {
            (Some(equals), Some(subset)) => !equals.includes(subset),
            _ => false,
        };
    parent.operations.contains(&GrantOperation::CreateGrant)
        && child.operations.iter().all(|operation| parent.operations.contains(operation))
        && !is_never(strict)
        && !is_never(loose)
        && loose.source_arn.as_ref().is_none_or(|source| strict.source_arn.as_ref() == Some(source))
        && loose.context_equals.as_ref().is_none_or(|equals| strict.context_equals.as_ref() == Some(equals))
        && loose.context_subset.as_ref().is_none_or(given)
}

fn contexts() -> impl Strategy<Value = EncryptionContext> {
    let pairs = vec![("a", "1"), ("a", "2"), ("b", "1"), ("b", "12"), ("c", "1"), ("ab", "1")];
    subsequence(pairs, 0..4).prop_map(|pairs| context(&pairs))
}

fn sources() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.2, select(SOURCES.to_vec()).prop_map(str::to_owned))
}

fn grants() -> impl Strategy<Value = Grant> {
    let principal = |arn: &str| GrantPrincipal::Principal(arn.to_owned());
    let grantees =
        vec![principal(ALICE), principal(ROLE), principal(ROOT), GrantPrincipal::Service(SERVICE.to_owned())];
    let constraints = (option::of(contexts()), option::of(contexts()), sources());
    (select(grantees), subsequence(OPERATIONS.to_vec(), 1..=6), constraints).prop_map(
        |(grantee, operations, (context_equals, context_subset, source_arn))| Grant {
            constraints: GrantConstraints { context_equals, context_subset, source_arn },
            ..grant(0, grantee, &operations)
        },
    )
}

proptest! {
    #[test]
    fn the_index_finds_a_grant_exactly_if_a_list_has_one(
        made in vec((grants(), any::<bool>()), 0..24),
        asked in vec((select(OPERATIONS.to_vec()), contexts(), sources(), 0..4_usize), 32),
        wanted in vec(grants(), 8),
    ) {
        let mut list = Vec::new();
        let mut index = GrantIndex::default();
        for (number, (grant, is_removed)) in made.into_iter().enumerate() {
            let grant = Grant { id: GrantId(format!("{number:064x}")), ..grant };
            index.insert(&grant);
            index.insert(&grant);
            list.push(grant);
            if is_removed {
                let removed = list.swap_remove(number % list.len());
                index.remove(&removed.id);
                index.remove(&removed.id);
            }
        }
        prop_assert_eq!(index.len(), list.len());
        let account = AccountId::parse(ACCOUNT).unwrap();
        let alice = GrantRequester { own: RequesterName::Principal(ALICE), role: None, account: Some(&account) };
        let requesters = [
            (alice, vec![ALICE, ROOT]),
            (GrantRequester { own: RequesterName::Principal("session"), role: Some(ROLE), ..alice }, vec![ROLE, ROOT]),
            (GrantRequester { own: RequesterName::Service(SERVICE), role: None, account: None }, vec![SERVICE]),
            (GrantRequester { own: RequesterName::Principal("other"), role: None, account: None }, vec![]),
        ];
        for (operation, encryption_context, source, who) in &asked {
            let (requester, names) = &requesters[*who];
            let question = GrantQuestion { operation: *operation, encryption_context, source_arn: source.as_deref() };
            let naive: Vec<_> = list
                .iter()
                .filter(|grant| names.contains(&grant.grantee.as_str()) && permits_naively(grant, &question))
                .collect();
            let found = index.permits(*requester, question);
            prop_assert_eq!(found.is_some(), !naive.is_empty());
            if let Some(found) = found {
                let by_account = naive.iter().all(|grant| grant.grantee.as_str() == ROOT);
                prop_assert_eq!(found.to == GrantedTo::Account, by_account);
                prop_assert!(naive.iter().any(|grant| grant.id == found.grant.id));
            }
        }
        for child in &wanted {
            for (requester, names) in &requesters {
                let naive = list
                    .iter()
                    .any(|parent| names.contains(&parent.grantee.as_str()) && covers_naively(parent, child));
                let found = index.parent(*requester, &child.operations, &child.constraints);
                prop_assert_eq!(found.is_some(), naive);
            }
        }
    }

    #[test]
    fn an_index_whose_grants_are_all_gone_holds_nothing(made in vec(grants(), 0..24)) {
        let named = |(number, grant)| Grant { id: GrantId(format!("{number:064x}")), ..grant };
        let made: Vec<Grant> = made.into_iter().enumerate().map(named).collect();
        let mut index = GrantIndex::new(made.clone());
        made.iter().for_each(|grant| index.remove(&grant.id));
        prop_assert!(index.is_empty());
        prop_assert!(index.slots.is_empty() && index.by_pair.is_empty() && index.subsets.is_empty());
        prop_assert!(index.grants.iter().all(Option::is_none));
    }
}

#[test]
fn an_account_is_the_same_by_its_arn_and_by_its_number() {
    let account = AccountId::parse(ACCOUNT).unwrap();
    let requester =
        GrantRequester { own: RequesterName::Principal(ALICE), role: None, account: Some(&account) };
    for name in [ROOT, ACCOUNT] {
        let grantee = GrantPrincipal::Principal(name.to_owned());
        let index = GrantIndex::new([grant(1, grantee, &[GrantOperation::Encrypt])]);
        let question = GrantQuestion {
            operation: GrantOperation::Encrypt,
            encryption_context: &EncryptionContext::default(),
            source_arn: None,
        };
        assert!(
            index.permits(requester, question).is_some_and(|permit| permit.to == GrantedTo::Account),
            "{name}"
        );
    }
}

/// A pair that all grants have in common finds none of them, when they have another that is theirs alone.
#[test]
fn subsets_are_found_by_their_rarest_pair() {
    let grantee = GrantPrincipal::Principal(ALICE.to_owned());
    let grants = (0..1000).map(|number| {
        let id = number.to_string();
        let context_subset = Some(context(&[("all", "same"), ("id", &id)]));
        let constraints = GrantConstraints { context_subset, ..GrantConstraints::default() };
        Grant { constraints, ..grant(number, grantee.clone(), &[GrantOperation::Encrypt]) }
    });
    let index = GrantIndex::new(grants);
    assert!(index.by_pair.values().all(|subsets| subsets.len() <= 1));
}
