//! What a custom key store must be like, what two of them must not share, and what may change when.

use serde_json::{Value, json};

use crate::support::changes::{self, Reload};
use crate::support::external_key_stores::{credential, new_external_store, proxy_credential};
use crate::support::kms::OTHER_ACCOUNT;
use crate::support::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, merged};
use crate::support::{Setup, Site};

const SERVICE: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-";

/// With three paths of the proxy.
fn site() -> Site {
    site_with("")
}

fn site_with(members: &str) -> Site {
    let site = Site::prepare(&Setup::kms_with_proxies("ca.pem", members));
    site.add_key_store("second", "");
    site.run();
    site.wait_ready();
    site
}

fn path(name: &str) -> Value {
    json!({"XksProxyUriPath": format!("/{name}/kms/xks/v1")})
}

/// A key store that would be reached through a VPC, with a service of this number.
fn new_vpc_store(name: &str, endpoint: &str, service: &str) -> Value {
    let members = json!({
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
        "XksProxyVpcEndpointServiceName": format!("{SERVICE}{service}"),
    });
    merged(new_external_store(name, endpoint), members)
}

#[track_caller]
fn assert_refused(site: &Site, request: &Value, (name, message): (&str, &str)) {
    site.kms("CreateCustomKeyStore", request).assert_error(name, message);
}

const NAME_IN_USE: (&str, &str) = (
    "CustomKeyStoreNameInUseException",
    "The custom key store name is in use by another custom key store in this account and Region.",
);
const URI_IN_USE: (&str, &str) = (
    "XksProxyUriInUseException",
    "The XksProxyUriEndpoint and XksProxyUriPath are in use by another external key store in this account and Region.",
);
const ENDPOINT_IN_USE: (&str, &str) = (
    "XksProxyUriEndpointInUseException",
    "The XksProxyUriEndpoint is in use by another external key store in this Region.",
);
const SERVICE_IN_USE: (&str, &str) = (
    "XksProxyVpcEndpointServiceInUseException",
    "The VPC endpoint service is in use by another external key store in this Region.",
);

#[test]
fn two_key_stores_share_neither_name_nor_uri() {
    let site = site();
    let endpoint = site.proxy_endpoint();
    let first = new_external_store("first", &endpoint);
    let first_id = site.create_store(&first);
    assert_refused(&site, &merged(first.clone(), path("second")), NAME_IN_USE);
    let second = new_external_store("second", &endpoint);
    assert_refused(&site, &second, URI_IN_USE);
    assert_refused(
        &site,
        &new_external_store("second", &endpoint.to_uppercase().replace("HTTPS", "https")),
        URI_IN_USE,
    );
    // Another path, account or Region is another thing.
    let second_id = site.create_store(&merged(second, path("second")));
    site.kms_as(&OTHER_ACCOUNT, "CreateCustomKeyStore", &first).ok();
    site.kms_in("eu-west-1", "CreateCustomKeyStore", &first).ok();
    // Nor do they after a change.
    let refused = |members: Value, (name, message): (&str, &str)| {
        site.update_store(&second_id, members).assert_error(name, message);
    };
    refused(json!({"NewCustomKeyStoreName": "first"}), NAME_IN_USE);
    refused(path("test"), URI_IN_USE);
    assert_eq!(site.store(&second_id)["CustomKeyStoreName"], "second");
    // What is deleted is in nobody's way, and its own name is nobody else's.
    site.update_store(&first_id, json!({"NewCustomKeyStoreName": "first"})).ok();
    site.of_store("DeleteCustomKeyStore", &first_id).ok();
    site.update_store(
        &second_id,
        json!({"NewCustomKeyStoreName": "first", "XksProxyUriPath": "/test/kms/xks/v1"}),
    )
    .ok();
    assert_eq!(site.store(&second_id)["XksProxyConfiguration"]["UriPath"], "/test/kms/xks/v1");
}

#[test]
fn a_key_store_behind_a_vpc_endpoint_service_shares_neither_it_nor_its_endpoint() {
    let site = site();
    let endpoint = site.proxy_endpoint();
    site.create_external_store("public", &endpoint);
    let elsewhere = "https://proxy.example.com";
    let of_public = new_vpc_store("vpc", &endpoint, "1");
    assert_refused(&site, &of_public, ENDPOINT_IN_USE);
    // Whoever it belongs to.
    let reply = site.kms_as(&OTHER_ACCOUNT, "CreateCustomKeyStore", &of_public);
    reply.assert_error(ENDPOINT_IN_USE.0, ENDPOINT_IN_USE.1);
    let before = site.proxy_requests().len();
    let vpc = site.create_store(&new_vpc_store("vpc", elsewhere, "1"));
    let described = site.store(&vpc)["XksProxyConfiguration"].clone();
    assert_eq!(described["VpcEndpointServiceName"], format!("{SERVICE}1"));
    assert_eq!(described["Connectivity"], "VPC_ENDPOINT_SERVICE");
    assert_eq!(site.proxy_requests().len(), before, "the way to the proxy is made when it is connected");
    assert_refused(&site, &new_vpc_store("other", "https://other.example.com", "1"), SERVICE_IN_USE);
    assert_refused(&site, &new_vpc_store("other", elsewhere, "2"), ENDPOINT_IN_USE);
    assert_refused(&site, &new_external_store("other", elsewhere), ENDPOINT_IN_USE);
    let owned = json!({"XksProxyVpcEndpointServiceOwner": "123456789012"});
    let other = site.create_store(&merged(new_vpc_store("other", "https://other.example.com", "2"), owned));
    assert_eq!(site.store(&other)["XksProxyConfiguration"]["VpcEndpointServiceOwner"], "123456789012");
    assert_eq!(site.try_connect_store(&vpc), "FAILED XKS_PROXY_NOT_REACHABLE");
}

/// Declares VPC endpoint services: number, private DNS name, and what is not as it should be.
fn services(declared: &[(&str, &str, &str)]) -> String {
    let table = |(number, private_dns_name, members): &(&str, &str, &str)| {
        let usual = [
            ("availability_zones", "2"),
            ("allowed_principals", "[\"cks.kms.us-east-1.amazonaws.com\"]"),
            ("owner", "\"123456789012\""),
        ];
        let usual: String = usual
            .iter()
            .filter(|(member, _)| !members.contains(member))
            .map(|(member, value)| format!("{member} = {value}\n"))
            .collect();
        format!(
            "[[kms.external_key_stores.vpc_endpoint_service]]\nname = \"{SERVICE}{number}\"\nprivate_dns_name = \
             \"{private_dns_name}\"\n{usual}{members}\n"
        )
    };
    declared.iter().map(table).collect()
}

#[test]
fn each_rule_of_vpc_endpoint_services_is_checked() {
    const INVALID: &str = "XksProxyVpcEndpointServiceInvalidConfigurationException";
    const NOT_FOUND: &str = "XksProxyVpcEndpointServiceNotFoundException";
    let site = site_with(&services(&[
        ("1", "localhost", ""),
        ("2", "localhost", "acceptance_required = true"),
        ("3", "localhost", "availability_zones = 1"),
        ("4", "localhost", "private_dns_verified = false"),
        ("5", "localhost", "load_balancer = \"gateway\""),
        ("6", "localhost", "allowed_principals = [\"cks.kms.eu-west-1.amazonaws.com\"]"),
        ("7", "elsewhere.example.com", ""),
    ]));
    let endpoint = site.proxy_endpoint();
    for (number, exception, message) in [
        (
            "2",
            INVALID,
            "The VPC endpoint service breaks a rule: it must not require acceptance of connections.",
        ),
        (
            "3",
            INVALID,
            "The VPC endpoint service breaks a rule: it must be in at least two Availability Zones.",
        ),
        (
            "4",
            INVALID,
            "The VPC endpoint service breaks a rule: the domain of its private DNS name must be verified.",
        ),
        ("5", INVALID, "The VPC endpoint service breaks a rule: it must have a network load balancer."),
        (
            "7",
            INVALID,
            "The VPC endpoint service breaks a rule: the XksProxyUriEndpoint must be `https://` and its private DNS name.",
        ),
        ("6", NOT_FOUND, ""),
        ("8", NOT_FOUND, ""),
    ] {
        let missing = format!(
            "The VPC endpoint service {SERVICE}{number} was not found in this Region, or does not admit AWS KMS."
        );
        let message = if message.is_empty() { missing.as_str() } else { message };
        assert_refused(&site, &new_vpc_store("vpc", &endpoint, number), (exception, message));
    }
    let request = new_vpc_store("vpc", &endpoint, "1");
    let of_another = json!({"XksProxyVpcEndpointServiceOwner": "210987654321"});
    let (name, _) = site.kms("CreateCustomKeyStore", &merged(request.clone(), of_another)).error();
    assert_eq!(name, NOT_FOUND);
    let in_another_region = site.kms_in("eu-west-1", "CreateCustomKeyStore", &request);
    assert_eq!(in_another_region.error().0, NOT_FOUND);
}

#[test]
fn what_has_become_of_a_vpc_endpoint_service_is_found_out_when_it_is_connected() {
    let site = site_with(&services(&[("1", "localhost", "")]));
    let store = site.create_store(&new_vpc_store("vpc", &site.proxy_endpoint(), "1"));
    site.connect_store(&store);
    site.disconnect_store(&store);
    for (was, is, code) in [
        (
            "availability_zones = 2",
            "availability_zones = 0",
            "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION",
        ),
        ("vpce-svc-1\"", "vpce-svc-9\"", "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND"),
    ] {
        site.reload(Reload::Taken, || site.edit_configuration(|text| text.replacen(was, is, 1)));
        assert_eq!(site.try_connect_store(&store), format!("FAILED {code}"));
        site.disconnect_store(&store);
    }
}

#[test]
fn an_account_has_ten_key_stores_in_a_region_and_lists_them_in_pages() {
    let site = site();
    let empty = site.kms("DescribeCustomKeyStores", &json!({})).ok();
    assert_eq!(empty, json!({"CustomKeyStores": [], "Truncated": false}));
    let request = |number: usize| {
        new_vpc_store(
            &format!("store {number}"),
            &format!("https://p{number}.example.com"),
            &number.to_string(),
        )
    };
    let mut ids: Vec<_> = (0..10).map(|number| site.create_store(&request(number))).collect();
    assert_refused(
        &site,
        &request(10),
        (
            "LimitExceededException",
            "The account has as many custom key stores in this Region as it may have.",
        ),
    );
    site.kms_in(
        "eu-west-1",
        "CreateCustomKeyStore",
        &merged(
            request(10),
            json!({
                "XksProxyVpcEndpointServiceName": "com.amazonaws.vpce.eu-west-1.vpce-svc-10",
            }),
        ),
    )
    .ok();
    let (entries, lengths) =
        site.kms_pages("DescribeCustomKeyStores", &json!({"Limit": 3}), "CustomKeyStores");
    assert_eq!(lengths, [3, 3, 3, 1]);
    let mut listed: Vec<_> =
        entries.iter().map(|entry| entry["CustomKeyStoreId"].as_str().unwrap().to_owned()).collect();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids);
    let described = |request: Value| site.kms("DescribeCustomKeyStores", &request);
    let named = described(json!({"CustomKeyStoreName": "store 7"})).ok();
    assert_eq!(named["CustomKeyStores"][0]["CustomKeyStoreName"], "store 7");
    assert_eq!(named["CustomKeyStores"].as_array().unwrap().len(), 1);
    for absent in [json!({"CustomKeyStoreName": "nobody"}), json!({"CustomKeyStoreId": "nobody"})] {
        let missing = "Custom key store nobody does not exist.";
        described(absent).assert_error("CustomKeyStoreNotFoundException", missing);
    }
    for wrong in [
        json!({"CustomKeyStoreName": "store 7", "CustomKeyStoreId": ids[0]}),
        json!({"Limit": 0}),
        json!({"Limit": 1001}),
    ] {
        assert_eq!(described(wrong.clone()).error().0, "ValidationException", "{wrong}");
    }
    assert_eq!(described(json!({"Marker": "nonsense"})).error().0, "InvalidMarkerException");
    // Another account sees none of them.
    assert_eq!(site.kms_as(&OTHER_ACCOUNT, "DescribeCustomKeyStores", &json!({})).ok(), empty);
    let strange = site.kms_as(&OTHER_ACCOUNT, "DeleteCustomKeyStore", &json!({"CustomKeyStoreId": ids[0]}));
    assert_eq!(strange.error().0, "CustomKeyStoreNotFoundException");
    site.of_store("DeleteCustomKeyStore", &ids[0]).ok();
    site.create_store(&request(10));
}

#[test]
fn members_that_are_missing_or_do_not_belong_are_refused() {
    let site = site();
    let right = new_external_store("story", &site.proxy_endpoint());
    let long = "z".repeat(65);
    let credential =
        |id: &str, secret: &str| json!({"XksProxyAuthenticationCredential": proxy_credential(id, secret)});
    for wrong in [
        json!({"CustomKeyStoreName": null}),
        json!({"CustomKeyStoreName": ""}),
        json!({"CustomKeyStoreName": "x".repeat(257)}),
        json!({"CustomKeyStoreType": null}),
        json!({"CustomKeyStoreType": "OTHER"}),
        json!({"XksProxyConnectivity": null}),
        json!({"XksProxyConnectivity": "PRIVATE"}),
        json!({"XksProxyUriEndpoint": null}),
        json!({"XksProxyUriEndpoint": "http://localhost:1"}),
        json!({"XksProxyUriEndpoint": "https://localhost/x"}),
        json!({"XksProxyUriPath": null}),
        json!({"XksProxyUriPath": "/test"}),
        json!({"XksProxyUriPath": "test/kms/xks/v1"}),
        json!({"XksProxyAuthenticationCredential": null}),
        json!({"XksProxyAuthenticationCredential": {"AccessKeyId": ACCESS_KEY_ID}}),
        json!({"XksProxyAuthenticationCredential": {"RawSecretAccessKey": SECRET_ACCESS_KEY}}),
        credential("ABCDEFGHIJKLMNOP018", SECRET_ACCESS_KEY),
        credential("ABCDEFGHIJKLMNOP0189", SECRET_ACCESS_KEY),
        credential(ACCESS_KEY_ID, "short"),
        credential(ACCESS_KEY_ID, &long),
        json!({"XksProxyVpcEndpointServiceName": format!("{SERVICE}1")}),
        json!({"XksProxyVpcEndpointServiceOwner": "123456789012"}),
        json!({"XksProxyConnectivity": "VPC_ENDPOINT_SERVICE"}),
        json!({"XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyVpcEndpointServiceName": "vpce-svc-1"}),
        json!({"CloudHsmClusterId": "cluster-2a23b4cdefg"}),
        json!({"KeyStorePassword": "password"}),
        json!({"TrustAnchorCertificate": "certificate"}),
    ] {
        let reply = site.kms("CreateCustomKeyStore", &merged(right.clone(), wrong.clone()));
        let (name, message) = reply.error();
        assert_eq!(name, "ValidationException", "{wrong}");
        assert!(!message.contains(&long) && !message.contains(SECRET_ACCESS_KEY), "{message}");
    }
    assert_eq!(site.kms("DescribeCustomKeyStores", &json!({})).ok()["CustomKeyStores"], json!([]));
    assert!(site.proxy_requests().is_empty());
}

#[test]
fn a_port_is_refused_as_aws_refuses_it_unless_the_configuration_allows_ports() {
    let site = Site::start_with(&Setup::kms());
    let request = new_external_store("story", &site.proxy_endpoint());
    let (name, message) = site.kms("CreateCustomKeyStore", &request).error();
    assert_eq!(name, "ValidationException");
    assert!(message.contains("xksProxyUriEndpoint"), "{message}");
    // Without a port it is the usual one, where nobody listens.
    let (name, _) =
        site.kms("CreateCustomKeyStore", &new_external_store("story", "https://localhost")).error();
    assert_eq!(name, "XksProxyUriUnreachableException");
}

#[test]
fn what_may_change_depends_on_the_connection() {
    let site = site();
    let store = site.create_external_store("story", &site.proxy_endpoint());
    let anywhere = [
        json!({"NewCustomKeyStoreName": "another"}),
        path("second"),
        path("test"),
        json!({"XksProxyAuthenticationCredential": credential()}),
    ];
    let disconnected_only = [
        json!({"XksProxyUriEndpoint": site.proxy_endpoint()}),
        json!({"XksProxyConnectivity": "PUBLIC_ENDPOINT", "XksProxyUriEndpoint": site.proxy_endpoint()}),
    ];
    for change in anywhere.iter().chain(&disconnected_only) {
        assert_eq!(site.update_store(&store, change.clone()).ok(), json!({}), "{change}");
    }
    site.connect_store(&store);
    for change in &anywhere {
        site.update_store(&store, change.clone()).ok();
        assert_eq!(site.connection_state(&store), "CONNECTED");
    }
    for change in &disconnected_only {
        site.update_store(&store, change.clone()).assert_error(
            "CustomKeyStoreInvalidStateException",
            "The connection state of the custom key store is CONNECTED. Disconnect it first.",
        );
    }
    site.disconnect_store(&store);
    site.of_store("DisconnectCustomKeyStore", &store).assert_error(
        "CustomKeyStoreInvalidStateException",
        "The connection state of the custom key store is DISCONNECTED. It is not connected.",
    );
    // The proxy refuses the credential that it had when the key store was made.
    site.reload(Reload::Taken, || {
        let other = changes::credential("ZYXWVUTSRQPONMLKJIHG", SECRET_ACCESS_KEY);
        site.replace("credentials.toml", &other);
    });
    assert_eq!(site.try_connect_store(&store), "FAILED INVALID_CREDENTIALS");
    let failed = "The connection state of the custom key store is FAILED. Its last connection attempt failed; \
                  disconnect it first.";
    for operation in ["ConnectCustomKeyStore", "DeleteCustomKeyStore"] {
        site.of_store(operation, &store).assert_error("CustomKeyStoreInvalidStateException", failed);
    }
    let update = site.update_store(&store, disconnected_only[0].clone());
    update.assert_error("CustomKeyStoreInvalidStateException", failed);
    // It is put right without leaving the state, which only disconnecting does.
    let right = proxy_credential("ZYXWVUTSRQPONMLKJIHG", SECRET_ACCESS_KEY);
    site.update_store(&store, json!({"XksProxyAuthenticationCredential": right})).ok();
    assert_eq!(site.settled_connection(&store), "FAILED INVALID_CREDENTIALS");
    site.disconnect_store(&store);
    assert_eq!(site.store(&store).get("ConnectionErrorCode"), None);
    site.connect_store(&store);
}

#[test]
fn an_update_that_makes_no_sense_or_does_not_work_changes_nothing() {
    let site = site();
    let store = site.create_external_store("story", &site.proxy_endpoint());
    let before = site.store(&store);
    let vpc = json!({
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyUriEndpoint": "https://proxy.example.com",
    });
    for (change, exception) in [
        (json!({}), "ValidationException"),
        (json!({"CloudHsmClusterId": "cluster-2a23b4cdefg"}), "ValidationException"),
        (json!({"KeyStorePassword": "password"}), "ValidationException"),
        (json!({"XksProxyConnectivity": "VPC_ENDPOINT_SERVICE"}), "ValidationException"),
        (vpc.clone(), "ValidationException"),
        (json!({"XksProxyVpcEndpointServiceName": format!("{SERVICE}1")}), "ValidationException"),
        (json!({"XksProxyAuthenticationCredential": {"AccessKeyId": ACCESS_KEY_ID}}), "ValidationException"),
        (path("nowhere"), "XksProxyInvalidConfigurationException"),
        (json!({"XksProxyUriEndpoint": "https://localhost:1"}), "XksProxyUriUnreachableException"),
        (
            json!({"NewCustomKeyStoreName": "new", "XksProxyUriPath": "/x/kms/xks/v1"}),
            "XksProxyInvalidConfigurationException",
        ),
        (
            json!({"XksProxyAuthenticationCredential": proxy_credential(ACCESS_KEY_ID, &"x".repeat(43))}),
            "XksProxyIncorrectAuthenticationCredentialException",
        ),
        // The proxy is asked by the new way before anything is stored.
        (
            merged(vpc, json!({"XksProxyVpcEndpointServiceName": format!("{SERVICE}1")})),
            "XksProxyUriUnreachableException",
        ),
    ] {
        assert_eq!(site.update_store(&store, change.clone()).error().0, exception, "{change}");
        assert_eq!(site.store(&store), before, "{change}");
    }
    let missing = site.update_store("cks-00000000000000000", json!({"NewCustomKeyStoreName": "new"}));
    missing.assert_error(
        "CustomKeyStoreNotFoundException",
        "Custom key store cks-00000000000000000 does not exist.",
    );
    // To a VPC endpoint service and back.
    let endpoint = site.proxy_endpoint();
    let to_vpc = json!({
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyUriEndpoint": endpoint,
        "XksProxyVpcEndpointServiceName": format!("{SERVICE}1"),
    });
    site.update_store(&store, to_vpc).ok();
    let configuration = site.store(&store)["XksProxyConfiguration"].clone();
    assert_eq!(configuration["VpcEndpointServiceName"], format!("{SERVICE}1"));
    let to_public = json!({"XksProxyConnectivity": "PUBLIC_ENDPOINT", "XksProxyUriEndpoint": endpoint});
    site.update_store(&store, to_public).ok();
    assert_eq!(site.store(&store), before);
}

#[test]
fn only_identity_policies_decide_on_key_stores() {
    let site = site();
    let store = site.create_external_store("story", &site.proxy_endpoint());
    let user = site.kms_user("manager");
    let of_store = json!({"CustomKeyStoreId": store});
    let update = merged(of_store.clone(), json!({"NewCustomKeyStoreName": "new"}));
    let other = merged(new_external_store("other", &site.proxy_endpoint()), path("second"));
    for (operation, request) in [
        ("CreateCustomKeyStore", other),
        ("DescribeCustomKeyStores", json!({})),
        ("UpdateCustomKeyStore", update),
        ("ConnectCustomKeyStore", of_store.clone()),
        ("DisconnectCustomKeyStore", of_store.clone()),
    ] {
        site.assert_denied(&user, operation, &request);
        let statement = |action: &str, resource: &str| json!([{"Effect": "Allow", "Action": action, "Resource": resource}]);
        let action = format!("kms:{operation}");
        site.kms_user_may("manager", &statement(&action, "arn:aws:kms:us-east-1:123456789012:key/*"));
        site.assert_denied(&user, operation, &request);
        site.kms_user_may("manager", &statement(&action, "*"));
        site.assert_allowed(&user, operation, &request);
        site.kms_user_may("manager", &statement("kms:ListKeys", "*"));
        site.assert_denied(&user, operation, &request);
    }
    assert_eq!(site.settled_connection(&store), "DISCONNECTED");
    site.assert_denied(&user, "DeleteCustomKeyStore", &of_store);
}
