//! Every operation, by everybody: strangers are refused, exactly the documented permissions suffice, one fewer does not,
//! and every condition key of a permission decides. What is asked follows from `src/kms/permissions.rs`.

mod cases;
mod scene;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;

use holdfast::kms::OperationName;
use holdfast::kms::permissions::{Check, checks};
use proxy_api::client::Endpoint;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::kms_permissions_walk::cases::{Case, Expected, cases};
use crate::kms_permissions_walk::scene::{Door, Scene};
use crate::support::kms::{ACCOUNT, KmsClient, KmsReply, OTHER_ACCOUNT};
use crate::support::kms_callers::Credentials;
use crate::support::kms_stories::policy;
use crate::support::pki::write_private;
use crate::support::{Setup, Site};

/// Scenes that are walked at the same time.
const WALKERS: usize = 4;
/// The access key of a service that passes on the calls of users.
const SERVICE: (&str, &str) = ("AKIASERVICEOFTHEWALK", "service-secret-of-the-walk-service");
/// Statements of one document, which must not become too big.
const STATEMENTS_OF_A_DOCUMENT: usize = 60;

/// Users of the walk with their permissions. One user stands for a case of every operation of its group: operations
/// with a permission in common are in different groups.
#[derive(Default)]
struct Users(BTreeMap<UserName, Vec<Value>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UserName {
    account: &'static str,
    group: usize,
    number: usize,
}

impl UserName {
    fn name(&self) -> String {
        format!("walker-{}-{}", self.group, self.number)
    }

    fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user/{}", self.account, self.name())
    }

    fn credentials(&self) -> Credentials {
        let unique = format!("{}{:03}{:07}", &self.account[..2], self.group, self.number);
        Credentials::new(&format!("AKIAWALK{unique}"), &format!("declared-secret-of-the-walk-{unique}"))
    }
}

impl Users {
    /// Declares them, and waits until the daemon has read that.
    fn declare(&self, site: &Site) {
        let mut file = std::fs::read_to_string(site.path("accounts.toml")).unwrap();
        let accounts = [ACCOUNT.id, OTHER_ACCOUNT.id];
        writeln!(
            file,
            "[[service]]\nname = \"s3.amazonaws.com\"\nacts_for = {accounts:?}\naccess_key = [{{ access_key_id = \"{}\", \
             secret_access_key = \"{}\" }}]",
            SERVICE.0, SERVICE.1
        )
        .unwrap();
        for (user, statements) in &self.0 {
            let Credentials { access_key_id, secret_access_key, .. } = user.credentials();
            let documents = statements.chunks(STATEMENTS_OF_A_DOCUMENT).enumerate();
            let policies: Vec<_> = documents
                .map(|(number, statements)| {
                    let name = format!("{}-{}-{number}.json", user.account, user.name());
                    std::fs::write(site.path(&name), policy(&json!(statements)).to_string()).unwrap();
                    format!("p{number} = {{ file = \"{name}\" }}")
                })
                .collect();
            writeln!(
                file,
                "[[user]]\naccount = \"{}\"\nname = \"{}\"\npolicies = {{ {} }}\naccess_key = [{{ access_key_id = \
                 \"{access_key_id}\", secret_access_key = \"{secret_access_key}\" }}]",
                user.account,
                user.name(),
                policies.join(", ")
            )
            .unwrap();
        }
        write_private(&site.path("accounts.toml"), &file);
        let last = self.0.keys().next_back().unwrap().credentials();
        let is_unknown = || {
            site.kms_by(&last, "ListKeys", &json!({})).0.status != 200
                && site.kms_by(&last, "ListKeys", &json!({})).error().0 == "UnrecognizedClientException"
        };
        site.wait_until("the users", || !is_unknown());
    }
}

/// A scene and the users of its cases.
struct Walk {
    scene: Scene,
    cases: Vec<(UserName, Case)>,
}

impl Walk {
    fn new(mut scene: Scene, group: usize, first: usize, admin: &mut KmsClient<'_>) -> Self {
        let users = cases(&scene).into_iter().enumerate();
        let cases: Vec<_> = users
            .map(|(number, case)| (UserName { account: case.account, group, number: first + number }, case))
            .collect();
        for (user, case) in &cases {
            for (place, statement) in &case.by_keys {
                let mut statement = statement.clone();
                statement["Principal"] = json!({"AWS": user.arn()});
                scene.keys[*place].statements.push(statement);
            }
            for (place, operation) in &case.granted {
                // What is handed on by the example is granted too.
                let mut operations = vec![operation.as_str()];
                operations.extend((operation.as_str() == "CreateGrant").then_some("Encrypt"));
                let grant = json!({"KeyId": scene.keys[*place].id, "GranteePrincipal": user.arn(),
                    "Operations": operations});
                admin.call("CreateGrant", &grant).unwrap().ok();
            }
        }
        scene.close_doors(admin);
        Self { scene, cases }
    }

    /// What is not as it should be.
    fn run(&mut self, admin: &mut KmsClient<'_>, caller: &mut KmsClient<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (user, case) in &self.cases {
            let request = self.scene.request();
            let operation = self.scene.operation.as_str();
            let mut signed = user.credentials().kms(operation, &request);
            if case.by_service {
                signed = Credentials::new(SERVICE.0, SERVICE.1).kms(operation, &request);
                signed.extra_headers.push(("x-holdfast-on-behalf-of", user.arn()));
            }
            let reply = caller.send(&signed).unwrap();
            if let Err(found) = self.check(user, case.expected, &reply) {
                wrong.push(format!("{}\n    expected {:?}, but {found}", case.what, case.expected));
            }
            if reply.0.status == 200 {
                self.scene.renew(admin);
            }
        }
        wrong
    }

    fn check(&self, user: &UserName, expected: Expected, reply: &KmsReply) -> Result<(), String> {
        if reply.0.status == 200 {
            return if expected == Expected::Allowed { Ok(()) } else { Err("it was served".to_owned()) };
        }
        let (error, text) = reply.error();
        // There is a replica already, which is looked at last.
        if self.scene.operation == OperationName::ReplicateKey && error == "AlreadyExistsException" {
            return if expected == Expected::Allowed { Ok(()) } else { Err("it was permitted".to_owned()) };
        }
        let is_refusal = ["AccessDeniedException", "NotFoundException"].contains(&error.as_str());
        let is_right = match expected {
            Expected::Allowed => false,
            Expected::NotServed => is_refusal,
            Expected::Denied { check, layer } => {
                error == "AccessDeniedException" && text == self.refusal(user, check, layer)
            }
        };
        if is_right { Ok(()) } else { Err(format!("{error}: {text}")) }
    }

    fn refusal(&self, user: &UserName, check: usize, layer: &str) -> String {
        let permission = checks(self.scene.operation)[check].permission().name;
        let resource = self.scene.shown_resource(check, user.account);
        format!(
            "User: {} is not authorized to perform: kms:{permission} on resource: {resource} because no {layer} allows the kms:{permission} \
             action",
            user.arn()
        )
    }
}

/// Groups of operations without a permission in common.
fn groups() -> Vec<Vec<OperationName>> {
    let mut groups: Vec<(BTreeSet<&str>, Vec<OperationName>)> = Vec::new();
    for operation in OperationName::ALL.iter().copied() {
        let names: BTreeSet<_> = checks(operation).iter().map(|check| check.permission().name).collect();
        let group = groups.iter_mut().find(|(taken, _)| taken.is_disjoint(&names));
        match group {
            Some((taken, members)) => {
                taken.extend(names);
                members.push(operation);
            }
            None => groups.push((names, vec![operation])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// Does something with each, several at the same time.
fn at_once<T: Send, R: Send>(
    (runtime, endpoint): (&Runtime, &Endpoint),
    of: Vec<T>,
    act: impl Fn(T, &mut KmsClient<'_>, &mut KmsClient<'_>) -> R + Sync,
) -> Vec<R> {
    let (todo, done) = (Mutex::new(of), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..WALKERS {
            threads.spawn(|| {
                let mut admin = KmsClient::open(runtime, endpoint.clone()).unwrap();
                let mut caller = KmsClient::open(runtime, endpoint.clone()).unwrap();
                loop {
                    let Some(next) = todo.lock().unwrap().pop() else { return };
                    let result = act(next, &mut admin, &mut caller);
                    done.lock().unwrap().push(result);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn walks(over: (&Runtime, &Endpoint)) -> Vec<Walk> {
    let mut scenes = Vec::new();
    for (group, operations) in groups().into_iter().enumerate() {
        for operation in operations {
            let has_key = checks(operation).iter().any(|check| matches!(check, Check::Key(_)));
            let doors = if has_key { vec![Door::Delegating, Door::Closed] } else { vec![Door::Delegating] };
            // Users of an operation are not the same at both doors.
            let groups = doors.into_iter().enumerate().map(|(number, door)| (2 * group + number, door));
            scenes.extend(groups.map(|(group, door)| (operation, group, door)));
        }
    }
    at_once(over, scenes, |(operation, group, door), admin, _| {
        Walk::new(Scene::new(operation, door, admin), group, 0, admin)
    })
}

#[test]
fn each_operation_needs_exactly_its_permissions_whoever_gives_them_on_whatever_condition() {
    let setup = Setup::kms_with_resource_quotas("on_demand_rotations_per_key = 1000");
    let site = Site::start_with(&setup);
    let endpoint = site.kms_endpoint();
    let over = (&site.runtime, &endpoint);
    let walks = walks(over);
    let mut users = Users::default();
    for (user, case) in walks.iter().flat_map(|walk| &walk.cases) {
        users.0.entry(user.clone()).or_default().extend(case.identity.iter().cloned());
    }
    users.declare(&site);
    let asked: usize = walks.iter().map(|walk| walk.cases.len()).sum();
    let wrong = at_once(over, walks, |mut walk, admin, caller| walk.run(admin, caller)).concat();
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 2300, "{asked}");
}
