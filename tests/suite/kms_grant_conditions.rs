//! What a request for a new grant says can be a condition of the permission to make it.

use serde_json::{Value, json};

use crate::support::kms::Account;
use crate::support::kms_stories::user_arn;
use crate::support::site::merged;
use crate::support::{Setup, Site};

struct Maker {
    site: Site,
    user: Account,
    key: String,
}

impl Maker {
    fn new() -> Self {
        let site = Site::start_with(&Setup::kms());
        let (user, key) = (site.kms_user("maker"), site.create_kms_key());
        Self { site, user, key }
    }

    /// On this condition, the user makes the grants that `granted` changes, and not those of `refused`.
    #[track_caller]
    fn assert(&self, condition: &Value, granted: &[&Value], refused: &[&Value]) {
        let statement =
            json!({"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": "*", "Condition": condition});
        self.site.kms_user_may("maker", &json!([statement]));
        let usual =
            json!({"KeyId": self.key, "GranteePrincipal": user_arn("grantee"), "Operations": ["Encrypt"]});
        for (requests, error) in [(granted, None), (refused, Some("AccessDeniedException"))] {
            for members in requests {
                let request = merged(usual.clone(), (*members).clone());
                let found = self.site.error_name(&self.user, "CreateGrant", &request);
                assert_eq!(found.as_deref(), error, "{condition} {request}");
            }
        }
    }
}

#[test]
fn the_constraints_of_a_new_grant_can_be_a_condition() {
    let maker = Maker::new();
    let none = json!({});
    let subset = json!({"Constraints": {"EncryptionContextSubset": {"AppName": "one"}}});
    let other = json!({"Constraints": {"EncryptionContextSubset": {"AppName": "two"}}});
    let equals = json!({"Constraints": {"EncryptionContextEquals": {"AppName": "one", "Stage": "Test"}}});
    let kind = |kind: &str| json!({"StringEquals": {"kms:GrantConstraintType": kind}});
    maker.assert(&kind("EncryptionContextSubset"), &[&subset], &[&equals, &none]);
    maker.assert(&kind("EncryptionContextEquals"), &[&equals], &[&subset, &none]);
    let pair = json!({"StringEquals": {"kms:EncryptionContext:AppName": "one"}});
    maker.assert(&pair, &[&subset, &equals], &[&none, &other]);
    let keys = json!({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "AppName"}});
    maker.assert(&keys, &[&subset, &none], &[&equals]);
}

#[test]
fn principals_and_operations_of_a_new_grant_can_be_a_condition() {
    let maker = Maker::new();
    let none = json!({});
    let operations = |names: Value| json!({"Operations": names});
    let (both, decrypt) = (operations(json!(["Encrypt", "Decrypt"])), operations(json!(["Decrypt"])));
    let of_operations = |operator: &str| json!({operator: {"kms:GrantOperations": "Encrypt"}});
    maker.assert(&of_operations("ForAllValues:StringEquals"), &[&none], &[&both, &decrypt]);
    maker.assert(&of_operations("ForAnyValue:StringEquals"), &[&none, &both], &[&decrypt]);
    let retired = |name: &str| json!({"RetiringPrincipal": user_arn(name)});
    let by_retirer = json!({"StringLike": {"kms:RetiringPrincipal": user_arn("ret*")}});
    maker.assert(&by_retirer, &[&retired("retirer")], &[&none, &retired("other")]);
    let to_grantee = json!({"StringEquals": {"kms:GranteePrincipal": user_arn("grantee")}});
    maker.assert(&to_grantee, &[&none], &[&json!({"GranteePrincipal": user_arn("other")})]);
}

#[test]
fn a_grant_to_a_service_can_be_a_condition() {
    let maker = Maker::new();
    let (none, retired) = (json!({}), json!({"RetiringPrincipal": user_arn("retirer")}));
    let bucket = |name: &str| format!("arn:aws:s3:us-east-1:123456789012:{name}");
    let to_service = |grantee: &str, retiring: &str, source: &str| {
        json!({"GranteePrincipal": null, "GranteeServicePrincipal": grantee,
            "RetiringServicePrincipal": retiring, "Constraints": {"SourceArn": bucket(source)}})
    };
    let (s3, sqs) = ("s3.amazonaws.com", "sqs.amazonaws.com");
    let usual = to_service(s3, s3, "bucket");
    for (key, value, other) in [
        ("kms:GranteeServicePrincipal", s3.to_owned(), to_service(sqs, s3, "bucket")),
        ("kms:RetiringServicePrincipal", s3.to_owned(), to_service(s3, sqs, "bucket")),
        ("kms:GrantConstraintSourceArn", bucket("bucket"), to_service(s3, s3, "other")),
    ] {
        let condition = json!({"StringEquals": {key: value}});
        maker.assert(&condition, &[&usual], &[&other, &none, &retired]);
        let absent = json!({"Null": {key: "true"}});
        maker.assert(&absent, &[&none, &retired], &[&usual, &other]);
    }
}
