//! Every combination of what the kinds of policies say, and who would be let in.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use crate::authorizer::evaluation::{CallerKind, Denial, Evaluation, Layer, Layers, Verdict};
use crate::identity::kms::NamedPolicy;
use crate::policy::{Context, Naming, PolicyDocument, Principal, Request};

const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";
const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1";
const ALLOWS: &str = r#"{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
const IS_SILENT: &str = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;

const LEGEND: &str = "\
Who is let in. A row: account of the caller, caller, whom the key policy names, whom a grant names.
Twice nine columns: identity policies that say nothing, and ones that allow it; with no boundary, one that does not
allow it, one that does; each with no session policy, one that does not allow it, one that does.
`A` is allowed. Else the kind of policies that keeps the caller out: Identity, Boundary, Session, Resource.

";

/// By which entry of a key policy or grantee of a grant the caller is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Nobody,
    Account,
    Everyone,
    Role,
    Itself,
}

impl By {
    fn entry(self, account: &str, caller: &str) -> String {
        let (kind, name) = match self {
            Self::Everyone => ("AWS", "*".to_owned()),
            Self::Account => ("AWS", account.to_owned()),
            Self::Role => ("AWS", format!("arn:aws:iam::{account}:role/ops")),
            Self::Itself if caller.starts_with("arn:") => ("AWS", caller.to_owned()),
            Self::Itself => ("Service", caller.to_owned()),
            Self::Nobody => ("AWS", "arn:aws:iam::777788889999:user/carol".to_owned()),
        };
        format!(r#"{{"{kind}":"{name}"}}"#)
    }

    const fn as_grant(self) -> Option<Naming> {
        match self {
            Self::Nobody => None,
            Self::Account => Some(Naming::Account),
            Self::Everyone | Self::Role => Some(Naming::WithOthers),
            Self::Itself => Some(Naming::Exactly),
        }
    }
}

fn named(text: &str) -> Arc<NamedPolicy> {
    NamedPolicy::new("policy", PolicyDocument::parse(text).unwrap())
}

fn cell(evaluation: &Evaluation<'_>, grant: Option<Naming>) -> char {
    match evaluation.verdict(grant) {
        Verdict::Allowed(_) => 'A',
        Verdict::Denied(Denial { layer, explicit }) => {
            assert_eq!(explicit, None);
            match layer {
                Layer::Boundary => 'B',
                Layer::Identity => 'I',
                Layer::Resource => 'R',
                Layer::Session => 'S',
                Layer::AccountPolicy | Layer::Endpoint => unreachable!("there are none"),
            }
        }
    }
}

fn row(kind: CallerKind, account: &str, caller: &str, by: By, grant: Option<Naming>) -> String {
    let principal = by.entry(account, caller);
    let key_policy = format!(
        r#"{{"Statement":{{"Effect":"Allow","Principal":{principal},"Action":"kms:*","Resource":"*"}}}}"#
    );
    let key_policy = PolicyDocument::parse(&key_policy).unwrap();
    let choices = [None, Some(IS_SILENT), Some(ALLOWS)];
    let mut cells = String::new();
    for identity in [IS_SILENT, ALLOWS].map(named) {
        for boundary in choices.map(|text| text.map(named)) {
            for session in choices.map(|text| text.map(named)) {
                let session: Vec<_> = session.into_iter().collect();
                let request = Request {
                    principal: Principal::new(caller).with_boundary(boundary.is_some()),
                    action: "kms:Decrypt",
                    resource: KEY,
                    context: Context::new(),
                };
                let layers = Layers {
                    caller: kind,
                    is_own: account == OWN,
                    resource_policy: Some(&key_policy),
                    identity_policies: std::slice::from_ref(&identity),
                    boundary: boundary.as_deref(),
                    session_policies: &session,
                    account_policies: &[],
                    endpoint_policy: None,
                };
                cells.push(cell(&Evaluation::of(&request, layers), grant));
            }
            cells.push(' ');
        }
        cells.push(' ');
    }
    cells
}

fn table() -> String {
    let mut table = LEGEND.to_owned();
    for (place, account) in [("own", OWN), ("other", OTHER)] {
        for (name, kind, caller) in [
            ("root", CallerKind::Root, format!("arn:aws:iam::{account}:root")),
            ("service", CallerKind::Service, "s3.amazonaws.com".to_owned()),
            ("user", CallerKind::UserOrRole, format!("arn:aws:iam::{account}:user/alice")),
            ("session", CallerKind::UserOrRole, format!("arn:aws:sts::{account}:assumed-role/ops/s")),
        ] {
            for by in [By::Nobody, By::Account, By::Everyone, By::Role, By::Itself] {
                let is_pointless =
                    (by == By::Role && name != "session") || (by == By::Itself && name == "root");
                if is_pointless {
                    continue;
                }
                for grant in [By::Nobody, By::Account, By::Role, By::Itself] {
                    let cells = row(kind, account, &caller, by, grant.as_grant());
                    writeln!(
                        table,
                        "{place:<6}{name:<8} {:<9} {:<9} {}",
                        format!("{by:?}").to_lowercase(),
                        format!("{grant:?}").to_lowercase(),
                        cells.trim_end()
                    )
                    .unwrap();
                }
            }
        }
    }
    table
}

/// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
#[test]
fn who_is_let_in_is_the_golden_table() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/authorization.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, table()).unwrap();
    }
    assert_eq!(table(), std::fs::read_to_string(golden).unwrap());
}
