//! Users, roles, their policies, access keys and sessions, under a running daemon.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_callers::Credentials;
use crate::support::pki::write_private;
use crate::support::{Setup, Site};

const DENIED: &str = "AccessDeniedException";
const UNKNOWN: &str = "UnrecognizedClientException";

fn document(effect: &str, action: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": "*"}})
}

fn allow(action: &str) -> Value {
    document("Allow", &json!(action))
}

fn trusts(principal: &str, condition: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"AWS": principal}, "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": condition,
    }})
}

/// A role of the first account with one policy, and its ARN.
fn role(site: &Site, name: &str, trust: &Value, policy: &Value) -> String {
    let file = site.path(&format!("{name}-trust.json"));
    std::fs::write(&file, trust.to_string()).unwrap();
    let file = file.to_str().unwrap();
    site.identity(&["role", "create", "--account", ACCOUNT.id, name, "--trust-policy", file]);
    site.put_policy("role", name, policy);
    format!("arn:aws:iam::{}:role/{name}", ACCOUNT.id)
}

fn assume(site: &Site, caller: &Credentials, role_arn: &str, more: &[(&str, &str)]) -> Credentials {
    let names = [("RoleArn", role_arn), ("RoleSessionName", "a-session")];
    site.sts_by(caller, "AssumeRole", &[&names, more].concat()).credentials()
}

/// What a caller may do, of two operations.
#[track_caller]
fn assert_may(site: &Site, caller: &Credentials, list: bool, random: bool) {
    for (operation, body, may) in
        [("ListKeys", json!({}), list), ("GenerateRandom", json!({"NumberOfBytes": 8}), random)]
    {
        let reply = site.kms_by(caller, operation, &body);
        if may {
            reply.ok();
        } else {
            assert_eq!(reply.error().0, DENIED, "{operation}");
        }
    }
}

#[test]
fn a_user_may_do_what_its_policies_allow_from_when_the_command_returns() {
    let site = Site::start_with(&Setup::kms());
    let user = site.new_user("alice", &allow("kms:ListKeys"));
    assert_may(&site, &user, true, false);
    let (name, text) = site.kms_by(&user, "CreateKey", &json!({})).error();
    assert_eq!(
        (name.as_str(), text.as_str()),
        (
            DENIED,
            "User: arn:aws:iam::123456789012:user/alice is not authorized \
        to perform: kms:CreateKey on resource: * because no identity-based policy allows the kms:CreateKey action"
        )
    );
    site.put_policy("user", "alice", &allow("kms:*"));
    assert_may(&site, &user, true, true);
    site.put_policy("user", "alice", &document("Deny", &json!("kms:ListKeys")));
    assert_may(&site, &user, false, false);
    site.identity(&["policy", "delete", "--account", ACCOUNT.id, "--of", "user", "alice", "--policy", "p"]);
    assert_may(&site, &user, false, false);
    let identity = site.sts_by(&user, "GetCallerIdentity", &[]);
    assert_eq!(identity.element("Arn"), "arn:aws:iam::123456789012:user/alice");
    assert_eq!(identity.element("Account"), ACCOUNT.id);
}

#[test]
fn an_access_key_that_is_switched_off_or_deleted_opens_nothing_from_when_the_command_returns() {
    let site = Site::start_with(&Setup::kms());
    let user = site.new_user("alice", &allow("kms:ListKeys"));
    let id = user.access_key_id.as_str();
    site.kms_by(&user, "ListKeys", &json!({})).ok();
    for _ in 0..2 {
        site.identity(&["access-key", "deactivate", id]);
        assert_eq!(site.kms_by(&user, "ListKeys", &json!({})).error().0, UNKNOWN);
        site.sts_by(&user, "GetCallerIdentity", &[]).assert_error(403, "InvalidClientTokenId");
        site.identity(&["access-key", "activate", id]);
        site.kms_by(&user, "ListKeys", &json!({})).ok();
    }
    let second = site.identity(&["access-key", "create", "--account", ACCOUNT.id, "--user", "alice"]);
    let member = |name: &str| second["new_access_key"][name].as_str().unwrap().to_owned();
    let second = Credentials::new(&member("access_key_id"), &member("secret_access_key"));
    site.identity(&["access-key", "delete", id]);
    assert_eq!(site.kms_by(&user, "ListKeys", &json!({})).error().0, UNKNOWN);
    site.kms_by(&second, "ListKeys", &json!({})).ok();
    // A user who still has an access key is not deleted.
    let delete = ["identity", "user", "delete", "--account", ACCOUNT.id, "alice"];
    assert!(!site.holdfast(&delete).status.success());
    site.identity(&["access-key", "delete", &second.access_key_id]);
    site.holdfast_ok(&delete);
    assert_eq!(site.kms_by(&second, "ListKeys", &json!({})).error().0, UNKNOWN);
}

#[test]
fn identities_and_sessions_outlive_a_restart_and_a_kill() {
    let site = Site::start_with(&Setup::kms());
    let user = site.new_user("alice", &document("Allow", &json!(["kms:ListKeys", "sts:AssumeRole"])));
    let trust = trusts("arn:aws:iam::123456789012:user/alice", &json!({}));
    let arn = role(&site, "reader", &trust, &allow("kms:GenerateRandom"));
    let session = assume(&site, &user, &arn, &[]);
    assert_eq!(site.stop().code(), Some(0));
    for _ in 0..2 {
        site.run();
        site.wait_ready();
        assert_may(&site, &user, true, false);
        assert_may(&site, &session, false, true);
        assume(&site, &user, &arn, &[]);
        site.kill();
    }
}

#[test]
fn no_secret_of_an_identity_is_in_the_database_the_log_or_a_list() {
    let site = Site::start_with(&Setup::kms());
    let user = site.new_user("alice", &document("Allow", &json!(["kms:ListKeys", "sts:AssumeRole"])));
    let trust = trusts("arn:aws:iam::123456789012:user/alice", &json!({}));
    let arn = role(&site, "reader", &trust, &allow("kms:GenerateRandom"));
    let session = assume(&site, &user, &arn, &[]);
    assert_may(&site, &session, false, true);
    let token = session.session_token.clone().unwrap();
    let shown = site.holdfast_ok(&["identity", "user", "show", "--account", ACCOUNT.id, "alice"])
        + &site.holdfast_ok(&["identity", "access-key", "list"])
        + &site.holdfast_ok(&["identity", "--json", "access-key", "list"]);
    assert!(shown.contains(&user.access_key_id));
    assert_eq!(site.stop().code(), Some(0));
    let mut places = vec![("list", shown), ("log", site.log())];
    for entry in std::fs::read_dir(site.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            places.push(("state", String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()));
        }
    }
    assert!(places.len() > 3, "where is the database?");
    for (place, text) in places {
        for secret in [&user.secret_access_key, &session.secret_access_key, &token] {
            assert!(!text.contains(secret.as_str()), "a secret is in the {place}");
        }
        // Sealed whole: who is there is nobody's business either, but for the ids that the log and lists name.
        assert!(place != "state" || !text.contains("kms:GenerateRandom"), "a policy is in the {place}");
    }
}

#[test]
fn root_is_what_a_key_policy_names_and_a_user_is_not() {
    let site = Site::start_with(&Setup::kms());
    let made = site.identity(&["access-key", "create", "--account", ACCOUNT.id, "--root"]);
    let member = |name: &str| made["new_access_key"][name].as_str().unwrap().to_owned();
    let root = Credentials::new(&member("access_key_id"), &member("secret_access_key"));
    let arn = site.sts_by(&root, "GetCallerIdentity", &[]).element("Arn");
    assert_eq!(arn, "arn:aws:iam::123456789012:root");
    let created = site.kms_by(&root, "CreateKey", &json!({})).ok();
    let id = created["KeyMetadata"]["KeyId"].clone();
    // A key belongs to the account: neither its maker nor root has a right that the policy does not give.
    let only = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:user/admin"},
        "Action": "kms:*", "Resource": "*",
    }]});
    site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": only.to_string()})).ok();
    assert_eq!(site.kms_by(&root, "DescribeKey", &json!({"KeyId": id})).error().0, DENIED);
    let user = site.new_user("alice", &allow("kms:*"));
    assert_eq!(site.kms_by(&user, "DescribeKey", &json!({"KeyId": id})).error().0, DENIED);
    site.kms("DescribeKey", &json!({"KeyId": id})).ok();
}

#[test]
fn a_role_is_assumed_by_whom_it_trusts_and_on_its_conditions() {
    let site = Site::start_with(&Setup::kms());
    let user = site.new_user("alice", &allow("sts:AssumeRole"));
    let other = site.new_user("bob", &allow("sts:AssumeRole"));
    let condition = json!({"StringEquals": {"sts:ExternalId": "ext-1"}});
    let trust = trusts("arn:aws:iam::123456789012:user/alice", &condition);
    let arn = role(&site, "reader", &trust, &allow("kms:ListKeys"));
    let names = [("RoleArn", arn.as_str()), ("RoleSessionName", "night-shift")];
    let right = [&names[..], &[("ExternalId", "ext-1")]].concat();
    site.sts_by(&other, "AssumeRole", &right).assert_error(403, "AccessDenied");
    site.sts_by(&user, "AssumeRole", &names).assert_error(403, "AccessDenied");
    let wrong = [&names[..], &[("ExternalId", "ext-2")]].concat();
    site.sts_by(&user, "AssumeRole", &wrong).assert_error(403, "AccessDenied");
    let missing = [("RoleArn", "arn:aws:iam::123456789012:role/none"), ("RoleSessionName", "night-shift")];
    site.sts_by(&user, "AssumeRole", &missing).assert_error(403, "AccessDenied");
    let assumed = site.sts_by(&user, "AssumeRole", &right);
    let session = assumed.credentials();
    let session_arn = "arn:aws:sts::123456789012:assumed-role/reader/night-shift";
    assert_eq!(assumed.element("Arn"), session_arn);
    assert_eq!(site.sts_by(&session, "GetCallerIdentity", &[]).element("Arn"), session_arn);
    assert_may(&site, &session, true, false);
    // Who the caller was before is forgotten: only the role counts.
    site.identity(&["access-key", "deactivate", &user.access_key_id]);
    assert_may(&site, &session, true, false);
    site.identity(&["role", "delete", "--account", ACCOUNT.id, "reader"]);
    assert_ne!(site.kms_by(&session, "ListKeys", &json!({})).0.status, 200);
}

#[test]
fn a_session_policy_only_takes_away() {
    let site = Site::start_with(&Setup::kms());
    let trust = trusts("arn:aws:iam::123456789012:root", &json!({}));
    let arn = role(&site, "reader", &trust, &allow("kms:ListKeys"));
    let admin = ACCOUNT.credentials();
    for (policy, list, random) in [
        (allow("kms:*"), true, false),
        (allow("kms:ListKeys"), true, false),
        (allow("kms:GenerateRandom"), false, false),
        (document("Deny", &json!("*")), false, false),
    ] {
        let session = assume(&site, &admin, &arn, &[("Policy", &policy.to_string())]);
        assert_may(&site, &session, list, random);
    }
    let broken = site.sts_by(
        &admin,
        "AssumeRole",
        &[("RoleArn", &arn), ("RoleSessionName", "a-session"), ("Policy", "{\"Statement\":7}")],
    );
    broken.assert_error(400, "MalformedPolicyDocument");
}

#[test]
fn tags_of_a_session_are_principal_tags_of_its_requests() {
    let site = Site::start_with(&Setup::kms());
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue"}},
    }});
    let arn = role(&site, "tagged", &trusts("arn:aws:iam::123456789012:root", &json!({})), &policy);
    let admin = ACCOUNT.credentials();
    let tags = |team| [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", team)];
    assert_may(&site, &assume(&site, &admin, &arn, &tags("blue")), true, false);
    assert_may(&site, &assume(&site, &admin, &arn, &tags("red")), false, false);
    assert_may(&site, &assume(&site, &admin, &arn, &[]), false, false);
}

#[test]
fn another_account_assumes_a_role_if_both_accounts_allow_it() {
    let site = Site::start_with(&Setup::kms());
    let trust = trusts("arn:aws:iam::210987654321:root", &json!({}));
    let arn = role(&site, "guest", &trust, &allow("kms:ListKeys"));
    let session = assume(&site, &OTHER_ACCOUNT.credentials(), &arn, &[]);
    assert_eq!(site.sts_by(&session, "GetCallerIdentity", &[]).element("Account"), ACCOUNT.id);
    assert_may(&site, &session, true, false);
    let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", "a-session")];
    site.identity(&["user", "create", "--account", OTHER_ACCOUNT.id, "mallory"]);
    let made = site.identity(&["access-key", "create", "--account", OTHER_ACCOUNT.id, "--user", "mallory"]);
    let member = |name: &str| made["new_access_key"][name].as_str().unwrap().to_owned();
    let mallory = Credentials::new(&member("access_key_id"), &member("secret_access_key"));
    site.sts_by(&mallory, "AssumeRole", &parameters).assert_error(403, "AccessDenied");
    // The role's own account is not meant by a trust in another.
    site.sts_by(&ACCOUNT.credentials(), "AssumeRole", &parameters).assert_error(403, "AccessDenied");
}

#[test]
fn a_session_token_is_good_for_its_own_key_whole_and_unchanged() {
    let site = Site::start_with(&Setup::kms());
    let arn =
        role(&site, "reader", &trusts("arn:aws:iam::123456789012:root", &json!({})), &allow("kms:ListKeys"));
    let admin = ACCOUNT.credentials();
    let (first, second) = (assume(&site, &admin, &arn, &[]), assume(&site, &admin, &arn, &[]));
    let token = first.session_token.clone().unwrap();
    let with_token = |credentials: &Credentials, token: Option<String>| Credentials {
        session_token: token,
        ..credentials.clone()
    };
    let mut flipped = token.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    for wrong in [
        with_token(&first, None),
        with_token(&first, second.session_token.clone()),
        with_token(&first, Some(String::from_utf8(flipped).unwrap())),
        with_token(&first, Some(token[..token.len() - 4].to_owned())),
        with_token(&admin, Some(token)),
    ] {
        assert_eq!(site.kms_by(&wrong, "ListKeys", &json!({})).error().0, UNKNOWN);
    }
    let mut forged = first.clone();
    forged.secret_access_key.replace_range(..1, "?");
    assert_eq!(site.kms_by(&forged, "ListKeys", &json!({})).error().0, "InvalidSignatureException");
    site.kms_by(&first, "ListKeys", &json!({})).ok();
}

#[test]
fn sessions_last_as_long_as_they_may_and_no_longer() {
    let site = Site::start_with(&Setup::kms());
    let arn =
        role(&site, "reader", &trusts("arn:aws:iam::123456789012:root", &json!({})), &allow("kms:ListKeys"));
    let admin = ACCOUNT.credentials();
    let names = [("RoleArn", arn.as_str()), ("RoleSessionName", "a-session")];
    for (seconds, code) in [("899", 400), ("900", 200), ("3600", 200), ("3601", 400), ("43201", 400)] {
        let parameters = [&names[..], &[("DurationSeconds", seconds)]].concat();
        let reply = site.sts_by(&admin, "AssumeRole", &parameters);
        assert_eq!(reply.status, code, "{seconds}: {}", reply.xml);
    }
}

#[test]
fn declared_identities_follow_their_file_and_no_command_changes_them() {
    let site = Site::start_with(&Setup::kms());
    let declared = std::fs::read_to_string(site.path("accounts.toml")).unwrap();
    let user = Credentials::new("AKIADECLAREDDECLARED", "declared-secret-of-forty-characters-0001");
    let with_user = |policy: &Value| {
        format!(
            "{declared}[[user]]\naccount = \"{}\"\nname = \"carol\"\npolicies = {{ p = '{policy}' }}\naccess_key = [{{ \
             access_key_id = \"{}\", secret_access_key = \"{}\" }}]\n",
            ACCOUNT.id, user.access_key_id, user.secret_access_key
        )
    };
    let status = |operation: &str, body: &Value| site.kms_by(&user, operation, body).0.status;
    assert_eq!(site.kms_by(&user, "ListKeys", &json!({})).error().0, UNKNOWN);
    write_private(&site.path("accounts.toml"), &with_user(&allow("kms:ListKeys")));
    site.wait_until("carol", || status("ListKeys", &json!({})) == 200);
    assert_may(&site, &user, true, false);
    write_private(&site.path("accounts.toml"), &with_user(&allow("kms:GenerateRandom")));
    site.wait_until("another policy", || status("ListKeys", &json!({})) == 400);
    assert_may(&site, &user, false, true);
    let delete = ["identity", "user", "delete", "--account", ACCOUNT.id, "carol"];
    assert!(!site.holdfast(&delete).status.success());
    // What cannot be read leaves in force what was.
    write_private(&site.path("accounts.toml"), "[[user]]\nname = 7\n");
    site.wait_until("the refusal", || site.log().contains("accounts.toml"));
    assert_may(&site, &user, false, true);
    write_private(&site.path("accounts.toml"), &declared);
    site.wait_until("no carol", || site.kms_by(&user, "ListKeys", &json!({})).error().0 == UNKNOWN);
    site.kms("ListKeys", &json!({})).ok();
}

#[test]
fn commands_need_the_running_daemon_and_say_so() {
    let site = Site::start_with(&Setup::kms());
    assert_eq!(site.stop().code(), Some(0));
    let output = site.holdfast(&["identity", "user", "list"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("no daemon is running"), "{text}");
}

#[test]
fn policies_see_from_where_a_request_comes() {
    let site = Site::start_with(&Setup::kms());
    let from = |effect: &str, operator: &str, ranges: Value| {
        json!({
            "Effect": effect, "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
            "Condition": {operator: {"aws:SourceIp": ranges}},
        })
    };
    let id = site.create_kms_key();
    let encrypt = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
    for (statement, is_allowed) in [
        (from("Deny", "NotIpAddress", json!(["10.0.0.0/8", "192.0.2.0/24"])), false),
        (from("Deny", "NotIpAddress", json!(["10.0.0.0/8", "127.0.0.0/8"])), true),
        (from("Deny", "IpAddress", json!("127.0.0.1/32")), false),
        (from("Deny", "IpAddress", json!("192.0.2.0/24")), true),
        // There is no VPC: what is demanded of it is never there.
        (
            json!({
                "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
                "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}},
            }),
            false,
        ),
    ] {
        let root = json!({
            "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*",
            "Resource": "*",
        });
        let policy = json!({"Version": "2012-10-17", "Statement": [root, statement]}).to_string();
        site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": policy})).ok();
        let reply = site.kms("Encrypt", &encrypt);
        if is_allowed {
            reply.ok();
        } else {
            assert_eq!(reply.error().0, DENIED, "{policy}");
        }
    }
}
