//! Laws that hold for every request, whatever the policies say.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::authorizer::evaluation::tests::generated::{
    Access, Statements, Written, document, statement, statements, written,
};
use crate::policy::PolicyDocument;

/// Sets a limit of a kind, or takes it away; of an identity, or of a resource with principals.
type SetLimit = fn(&mut Written, Option<(&Statements, &Statements)>);

/// Whether nobody is let in who was not before.
fn adds_nothing(before: Access, after: Access) -> bool {
    before.iter().zip(after).all(|(before, after)| *before || !after)
}

/// The same statements, each with an action that no request has and that keeps it out of the index of actions.
fn without_index(statements: &mut Statements) {
    for statement in statements {
        for member in ["Action", "NotAction"] {
            if let Some(actions) = statement.get_mut(member) {
                let mut all = actions.as_array().cloned().unwrap_or_else(|| vec![actions.clone()]);
                all.push(json!("none:*"));
                *actions = Value::Array(all);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_deny_anywhere_never_adds_access(
        case in written(),
        of_identity in statement(false),
        of_resource in statement(true),
        at in any::<Index>(),
    ) {
        let before = case.access();
        let deny = |mut statement: Value| {
            statement["Effect"] = json!("Deny");
            statement
        };
        let mut resource = case.clone();
        resource.resource.iter_mut().for_each(|all| all.push(deny(of_resource.clone())));
        prop_assert!(adds_nothing(before, resource.access()));

        let mut anywhere = case;
        let mut documents = anywhere.documents_mut();
        if !documents.is_empty() {
            let at = at.index(documents.len());
            // Without a principal it is about every caller, also in the policy of a resource.
            documents[at].push(deny(of_identity));
            prop_assert!(adds_nothing(before, anywhere.access()));
        }
    }

    #[test]
    fn an_allow_less_never_adds_access(
        case in written(),
        of_identity in statement(false),
        of_resource in statement(true),
        policy in any::<Index>(),
    ) {
        let allow = |mut statement: Value| {
            if let Some(principals) = statement.as_object_mut().unwrap().remove("NotPrincipal") {
                statement["Principal"] = principals;
            }
            statement["Effect"] = json!("Allow");
            statement
        };
        let less = case.access();
        let mut of_resources = case.clone();
        of_resources.resource.iter_mut().for_each(|all| all.push(allow(of_resource.clone())));
        prop_assert!(adds_nothing(of_resources.access(), less));

        let mut anywhere = case;
        let mut documents = anywhere.documents_mut();
        if !documents.is_empty() {
            let policy = policy.index(documents.len());
            documents[policy].push(allow(of_identity));
            prop_assert!(adds_nothing(anywhere.access(), less));
        }
    }

    #[test]
    fn an_identity_policy_without_deny_less_never_adds_access(case in written(), of_allows in statements(false)) {
        let mut less = case.clone();
        let mut case = case;
        case.identity.push(of_allows);
        let allows = case.identity.last_mut().unwrap();
        allows.iter_mut().for_each(|statement| statement["Effect"] = json!("Allow"));
        prop_assert!(adds_nothing(case.access(), less.access()));
        less.session.clear();
        case.session.clear();
        prop_assert!(adds_nothing(case.access(), less.access()));
    }

    #[test]
    fn a_first_limit_never_adds_access(
        case in written(),
        of_identity in statements(false),
        of_resource in statements(true),
    ) {
        let limits: [SetLimit; 4] = [
            |case, limit| case.boundary = limit.map(|(limit, _)| limit.clone()),
            |case, limit| case.session = limit.map(|(limit, _)| limit.clone()).into_iter().collect(),
            |case, limit| case.account = limit.map(|(limit, _)| limit.clone()).into_iter().collect(),
            |case, limit| case.endpoint = limit.map(|(_, limit)| limit.clone()),
        ];
        for set in limits {
            let (mut without, mut with) = (case.clone(), case.clone());
            set(&mut without, None);
            set(&mut with, Some((&of_identity, &of_resource)));
            prop_assert!(adds_nothing(without.access(), with.access()));
        }
    }

    #[test]
    fn a_grant_never_takes_access_away_nor_does_a_stronger_one(case in written()) {
        let [without, to_account, to_role, to_itself] = case.access();
        prop_assert!(!without || to_account);
        prop_assert!(!to_account || to_role);
        prop_assert!(!to_role || to_itself);
    }

    #[test]
    fn order_does_not_matter(
        (case, shuffled) in written().prop_flat_map(|case| {
            let shuffle = |all: &Vec<Statements>| Just(all.clone()).prop_shuffle();
            let lists = (shuffle(&case.identity), shuffle(&case.session), shuffle(&case.account));
            (Just(case), lists)
        }),
        rotation in 0..3_usize,
    ) {
        let (identity, session, account) = shuffled;
        let mut other = Written { identity, session, account, ..case.clone() };
        for statements in other.documents_mut() {
            let middle = rotation.min(statements.len());
            statements.rotate_left(middle);
            statements.reverse();
        }
        prop_assert_eq!(case.access(), other.access());
    }

    #[test]
    fn a_printed_policy_is_the_same_policy(case in written()) {
        for statements in case.documents() {
            let read = document(statements);
            prop_assert_eq!(PolicyDocument::parse(&read.to_string()).unwrap(), read);
        }
    }

    #[test]
    fn the_index_of_actions_changes_nothing(case in written()) {
        let mut unindexed = case.clone();
        unindexed.documents_mut().into_iter().for_each(without_index);
        prop_assert_eq!(case.access(), unindexed.access());
    }

    #[test]
    fn a_context_that_is_made_only_if_needed_changes_nothing(case in written()) {
        prop_assert_eq!(case.access(), case.access_in(|layers| layers.need_context()));
    }

    #[test]
    fn nobody_is_let_in_by_nothing(case in written()) {
        let mut nothing = case;
        nothing.identity.clear();
        nothing.resource = Some(vec![json!({ "Effect": "Deny", "Principal": "*", "Action": "none:*" })]);
        prop_assert!(!nothing.access()[0]);
    }
}
