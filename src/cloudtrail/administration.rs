//! Changes of identities by whoever has the control socket, in the words of AWS IAM.

use std::collections::BTreeMap;

use crate::domain::kms::AccountId;
use crate::identity::kms::{AdminRequest, Holder, HolderKind};
use crate::json::{Object, push_array};

/// A change of identities, as IAM would record it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administration {
    /// `eventName`.
    pub name: &'static str,
    /// Unknown where the request names an access key only.
    pub account: Option<AccountId>,
    /// `requestParameters`; never a secret: requests have none.
    pub parameters: Vec<u8>,
}

/// Nothing, if the request changes nothing.
pub fn administration(request: &AdminRequest) -> Option<Administration> {
    let mut json = Vec::new();
    let mut parameters = Object::begin(&mut json);
    let (name, account) = match request {
        AdminRequest::List { .. } | AdminRequest::ListAccessKeys { .. } | AdminRequest::Show(_) => {
            return None;
        }
        AdminRequest::CreateAccessKey { account, user } => {
            parameters.text_if("userName", user.as_deref());
            ("CreateAccessKey", Some(account))
        }
        AdminRequest::CreateRole { role, path, tags, trust_policy, max_session_duration_seconds } => {
            write_holder(role, &mut parameters);
            parameters.text("path", path);
            parameters.text("assumeRolePolicyDocument", trust_policy);
            parameters.json("maxSessionDuration", max_session_duration_seconds.to_string().as_bytes());
            write_tags(tags, &mut parameters);
            ("CreateRole", Some(&role.account))
        }
        AdminRequest::CreateUser { user, path, tags } => {
            write_holder(user, &mut parameters);
            parameters.text("path", path);
            write_tags(tags, &mut parameters);
            ("CreateUser", Some(&user.account))
        }
        AdminRequest::CreateMfaDevice { user } => {
            ("EnableMFADevice", Some(write_holder(user, &mut parameters)))
        }
        AdminRequest::Delete(holder) => {
            (of_kind(holder, "DeleteRole", "DeleteUser"), Some(write_holder(holder, &mut parameters)))
        }
        AdminRequest::DeleteBoundary { of } => write_boundary(of, None, &mut parameters),
        AdminRequest::DeleteAccessKey { access_key_id } => {
            parameters.text("accessKeyId", access_key_id);
            ("DeleteAccessKey", None)
        }
        AdminRequest::DeleteMfaDevice { user } => {
            ("DeactivateMFADevice", Some(write_holder(user, &mut parameters)))
        }
        AdminRequest::DeletePolicy { of, name } => write_policy(of, (name, None), &mut parameters),
        AdminRequest::PutBoundary { of, document } => write_boundary(of, Some(document), &mut parameters),
        AdminRequest::PutPolicy { of, name, document } => {
            write_policy(of, (name, Some(document)), &mut parameters)
        }
        AdminRequest::PutTrustPolicy { role, document } => {
            write_holder(role, &mut parameters);
            parameters.text("policyDocument", document);
            ("UpdateAssumeRolePolicy", Some(&role.account))
        }
        AdminRequest::SetAccessKeyActive { access_key_id, active } => {
            parameters.text("accessKeyId", access_key_id);
            parameters.text("status", if *active { "Active" } else { "Inactive" });
            ("UpdateAccessKey", None)
        }
    };
    parameters.end();
    let account = account.and_then(|account| AccountId::parse(account));
    Some(Administration { name, account, parameters: json })
}

const fn of_kind(holder: &Holder, role: &'static str, user: &'static str) -> &'static str {
    match holder.kind {
        HolderKind::Role => role,
        HolderKind::User => user,
    }
}

/// Its account.
fn write_holder<'a>(holder: &'a Holder, parameters: &mut Object<'_>) -> &'a String {
    parameters.text(of_kind(holder, "roleName", "userName"), &holder.name);
    &holder.account
}

fn write_policy<'a>(
    of: &'a Holder,
    (name, document): (&str, Option<&str>),
    parameters: &mut Object<'_>,
) -> (&'static str, Option<&'a String>) {
    let account = write_holder(of, parameters);
    parameters.text("policyName", name);
    parameters.text_if("policyDocument", document);
    let name = match document {
        Some(_) => of_kind(of, "PutRolePolicy", "PutUserPolicy"),
        None => of_kind(of, "DeleteRolePolicy", "DeleteUserPolicy"),
    };
    (name, Some(account))
}

fn write_boundary<'a>(
    of: &'a Holder,
    document: Option<&str>,
    parameters: &mut Object<'_>,
) -> (&'static str, Option<&'a String>) {
    let account = write_holder(of, parameters);
    parameters.text_if("permissionsBoundary", document);
    let name = match document {
        Some(_) => of_kind(of, "PutRolePermissionsBoundary", "PutUserPermissionsBoundary"),
        None => of_kind(of, "DeleteRolePermissionsBoundary", "DeleteUserPermissionsBoundary"),
    };
    (name, Some(account))
}

fn write_tags(tags: &BTreeMap<String, String>, parameters: &mut Object<'_>) {
    push_array(parameters.member("tags"), tags, |out, (key, value)| {
        let mut tag = Object::begin(out);
        tag.text("key", key);
        tag.text("value", value);
        tag.end();
    });
}
