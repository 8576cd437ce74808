//! Who may do what: every case that the permissions reference makes of one operation.

use holdfast::domain::kms::{ConditionKey, CrossAccount, GivenBy, GrantOperation, TestedBy};
use holdfast::kms::permissions::{Check, checks};
use serde_json::{Value, json};

use crate::kms_permissions_walk::scene::{Door, Scene};
use crate::kms_permissions_walk::values::{is, is_any, is_not, name, value, value_by_service};
use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};

const BY_IDENTITY: &str = "identity-based policy";
const BY_RESOURCE: &str = "resource-based policy";

/// One user with its permissions, and what becomes of its request.
pub(super) struct Case {
    pub(super) what: String,
    pub(super) account: &'static str,
    pub(super) identity: Vec<Value>,
    /// Statements of key policies, without their principal, each with the place of its key.
    pub(super) by_keys: Vec<(usize, Value)>,
    /// Places of keys, and what is granted there.
    pub(super) granted: Vec<(usize, GrantOperation)>,
    /// The request comes by way of a service.
    pub(super) by_service: bool,
    pub(super) expected: Expected,
}

/// Conditions, any of which would do, for one permission.
struct Tried {
    what: String,
    conditions: Vec<Value>,
    by_service: bool,
    holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Allowed,
    /// With the text of a refusal of this check, by this kind of policy.
    Denied {
        check: usize,
        layer: &'static str,
    },
    /// Whatever the text.
    NotServed,
}

/// All cases of a scene.
pub(super) fn cases(scene: &Scene) -> Vec<Case> {
    let of = Cases { scene, checks: checks(scene.operation) };
    match scene.door {
        Door::Delegating => [
            of.by_identities(),
            of.of_another_account(),
            of.of_identities_by_key_policies(),
            of.by_conditions_of_identities(),
        ]
        .concat_all(),
        Door::Closed => {
            [of.by_key_policies(), of.by_grants(), of.by_conditions_of_key_policies()].concat_all()
        }
    }
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Case>;
}

impl<const N: usize> ConcatAll for [Vec<Case>; N] {
    fn concat_all(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

struct Cases<'s> {
    scene: &'s Scene,
    checks: &'static [Check],
}

fn with_condition(mut statement: Value, condition: Option<&Value>) -> Value {
    if let Some(condition) = condition {
        statement["Condition"] = condition.clone();
    }
    statement
}

impl Cases<'_> {
    fn case(&self, what: &str, expected: Expected) -> Case {
        let Scene { operation, door, .. } = self.scene;
        Case {
            what: format!("{operation}, {door:?}: {what}"),
            account: ACCOUNT.id,
            identity: Vec::new(),
            by_keys: Vec::new(),
            granted: Vec::new(),
            by_service: false,
            expected,
        }
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.checks.len()
    }

    fn is_of_key(&self, check: usize) -> bool {
        matches!(self.checks[check], Check::Key(_))
    }

    fn of_keys(&self) -> Vec<usize> {
        self.all().filter(|check| self.is_of_key(*check)).collect()
    }

    fn label(&self, check: usize) -> String {
        format!("kms:{} on {}", self.checks[check].permission().name, self.scene.resource(check, ACCOUNT.id))
    }

    /// A statement of an identity policy: the documented permission on the documented resource.
    fn by_identity(&self, check: usize, account: &str, condition: Option<&Value>) -> Value {
        let action = format!("kms:{}", self.checks[check].permission().name);
        let statement = json!({"Effect": "Allow", "Action": action,
            "Resource": self.scene.resource(check, account)});
        with_condition(statement, condition)
    }

    /// The same in a key policy.
    fn by_key(&self, check: usize, condition: Option<&Value>) -> (usize, Value) {
        let action = format!("kms:{}", self.checks[check].permission().name);
        let statement = json!({"Effect": "Allow", "Action": action, "Resource": "*"});
        (self.scene.place(check), with_condition(statement, condition))
    }

    fn exactly(&self, account: &str) -> Vec<Value> {
        self.all().map(|check| self.by_identity(check, account, None)).collect()
    }

    fn all_but(&self, missing: usize) -> Vec<Value> {
        let others = self.all().filter(|check| *check != missing);
        others.map(|check| self.by_identity(check, ACCOUNT.id, None)).collect()
    }

    fn by_identities(&self) -> Vec<Case> {
        let denied = |check| Expected::Denied { check, layer: BY_IDENTITY };
        let stranger = self.case("without any permission", denied(0));
        let identity = self.exactly(ACCOUNT.id);
        let exact = Case { identity, ..self.case("by exactly its permissions", Expected::Allowed) };
        let mut cases = vec![stranger, exact];
        cases.extend(self.all().map(|missing| Case {
            identity: self.all_but(missing),
            ..self.case(&format!("without {}", self.label(missing)), denied(missing))
        }));
        cases
    }

    /// Both sides allow, and one.
    fn of_another_account(&self) -> Vec<Case> {
        let keys = self.of_keys();
        let Some(first) = keys.first() else { return Vec::new() };
        let crosses =
            keys.iter().all(|check| self.checks[*check].permission().cross_account == CrossAccount::Yes);
        let (both, one) = if crosses {
            (Expected::Allowed, Expected::Denied { check: *first, layer: BY_IDENTITY })
        } else {
            (Expected::NotServed, Expected::NotServed)
        };
        let account = OTHER_ACCOUNT.id;
        vec![
            Case {
                account,
                identity: self.exactly(account),
                ..self.case("from another account, by both sides", both)
            },
            Case { account, ..self.case("from another account, by the side of the key alone", one) },
        ]
    }

    /// What only identities can be given has no effect in a key policy.
    fn of_identities_by_key_policies(&self) -> Vec<Case> {
        let is_of_identity =
            |check: &usize| self.checks[*check].permission().given_by == GivenBy::IdentityPolicy;
        let case = |check: usize| {
            let (_, statement) = self.by_key(check, None);
            Case {
                identity: self.all_but(check),
                by_keys: (0..self.scene.keys.len()).map(|place| (place, statement.clone())).collect(),
                ..self.case(
                    &format!("with {} by key policies", self.label(check)),
                    Expected::Denied { check, layer: BY_IDENTITY },
                )
            }
        };
        self.all().filter(is_of_identity).map(case).collect()
    }

    fn by_conditions_of_identities(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for check in self.all() {
            for Tried { what, conditions, by_service, holds } in self.conditions(check) {
                let mut identity = self.all_but(check);
                let with = |condition| self.by_identity(check, ACCOUNT.id, Some(condition));
                identity.extend(conditions.iter().map(with));
                let denied = Expected::Denied { check, layer: BY_IDENTITY };
                let expected = if holds { Expected::Allowed } else { denied };
                let what = format!("{} if {what}", self.label(check));
                cases.push(Case { identity, by_service, ..self.case(&what, expected) });
            }
        }
        cases
    }

    /// Conditions for one check, and whether they hold.
    fn conditions(&self, check: usize) -> Vec<Tried> {
        let permission = self.checks[check].permission();
        let mut tried = Vec::new();
        for key in permission.condition_keys() {
            let name = name(key);
            let own = value(self.scene, check, key).map(|own| (own, false));
            let by_service = value_by_service(self.scene, check, key).map(|own| (own, true));
            if own.is_none() {
                let what = format!("{name} is there");
                tried.push(Tried { what, conditions: vec![is_any(key)], by_service: false, holds: false });
            }
            for (own, by_service) in own.into_iter().chain(by_service) {
                for (condition, holds) in [(is(key, &own), true), (is_not(key, &own), false)] {
                    let what = format!("{condition}, where it is {own}");
                    tried.push(Tried { what, conditions: vec![condition], by_service, holds });
                }
            }
        }
        let foreign = ConditionKey::ALL.iter().filter(|key| !permission.has(**key));
        let conditions = foreign.map(|key| is_any(*key)).collect();
        let what = "any key is there that is not in its row".to_owned();
        tried.push(Tried { what, conditions, by_service: true, holds: false });
        tried
    }

    fn key_policies_can_give(&self, check: usize) -> bool {
        self.is_of_key(check) && self.checks[check].permission().given_by == GivenBy::KeyPolicy
    }

    /// What key policies cannot give, by the identity.
    fn of_no_key(&self, account: &str) -> Vec<Value> {
        let others = self.all().filter(|check| !self.is_of_key(*check));
        others.map(|check| self.by_identity(check, account, None)).collect()
    }

    fn by_key_policies(&self) -> Vec<Case> {
        let keys = self.of_keys();
        let case = |what: &str, by_keys: &[usize], expected| Case {
            identity: self.of_no_key(ACCOUNT.id),
            by_keys: by_keys.iter().map(|check| self.by_key(*check, None)).collect(),
            ..self.case(what, expected)
        };
        let given = keys.iter().all(|check| self.key_policies_can_give(*check));
        let expected = if given { Expected::Allowed } else { Expected::NotServed };
        let mut cases = vec![case("by key policies alone", &keys, expected)];
        for missing in keys.iter().filter(|_| given) {
            let others: Vec<_> = keys.iter().copied().filter(|check| check != missing).collect();
            let denied = Expected::Denied { check: *missing, layer: BY_RESOURCE };
            cases.push(case(&format!("without {}", self.label(*missing)), &others, denied));
        }
        let expected = if given {
            Expected::Denied { check: keys[0], layer: BY_RESOURCE }
        } else {
            // Of a grant, the account of the key may dispose too.
            Expected::Allowed
        };
        cases.push(Case {
            identity: self.exactly(ACCOUNT.id),
            ..self.case("by identity policies that the key policy does not ask", expected)
        });
        cases.push(Case {
            account: OTHER_ACCOUNT.id,
            identity: self.exactly(OTHER_ACCOUNT.id),
            ..self.case(
                "from another account, by its own side alone",
                if given { Expected::NotServed } else { Expected::Allowed },
            )
        });
        cases
    }

    /// Grants suffice, in every account.
    fn by_grants(&self) -> Vec<Case> {
        let granted = |check: &usize| {
            let operation = GrantOperation::parse(self.checks[*check].permission().name)?;
            (operation != GrantOperation::RetireGrant).then_some((self.scene.place(*check), operation))
        };
        let Some(granted) = self.of_keys().iter().map(granted).collect::<Option<Vec<_>>>() else {
            return Vec::new();
        };
        let case = |account: &'static str| Case {
            account,
            granted: granted.clone(),
            ..self.case(&format!("by grants alone, from {account}"), Expected::Allowed)
        };
        vec![case(ACCOUNT.id), case(OTHER_ACCOUNT.id)]
    }

    fn by_conditions_of_key_policies(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for check in self.of_keys().into_iter().filter(|check| self.key_policies_can_give(*check)) {
            let others: Vec<_> = self.of_keys().into_iter().filter(|other| *other != check).collect();
            for Tried { what, conditions, by_service, holds } in self.conditions(check) {
                let is_seen = !names_key_for_identities(&conditions[0]);
                let denied = Expected::Denied { check, layer: BY_RESOURCE };
                let expected = if holds && is_seen { Expected::Allowed } else { denied };
                let mut by_keys: Vec<_> = others.iter().map(|other| self.by_key(*other, None)).collect();
                by_keys.extend(conditions.iter().map(|condition| self.by_key(check, Some(condition))));
                let what = format!("{} by its key policy if {what}", self.label(check));
                let identity = self.of_no_key(ACCOUNT.id);
                cases.push(Case { identity, by_keys, by_service, ..self.case(&what, expected) });
            }
        }
        cases
    }
}

/// Whether the condition is on a key that key policies do not see.
fn names_key_for_identities(condition: &Value) -> bool {
    let text = condition.to_string();
    let unseen = ConditionKey::ALL.iter().filter(|key| key.tested_by() == TestedBy::IdentityPolicies);
    unseen.into_iter().any(|key| text.contains(key.as_str()))
}
